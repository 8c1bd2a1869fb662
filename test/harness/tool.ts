/**
 * Programs that some tests need and not every machine has.
 *
 * A test that needs one says so in its options: `test('...', needs('mosquitto_pub'), ...)`. It is
 * then skipped by name where the program is absent, with how to get it; `npm test` lists what
 * was skipped, and with CI=true a skip is a failure.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const HOW_TO_GET: Readonly<Record<string, string>> = {
  mosquitto: 'apt-get install mosquitto',
  mosquitto_pub: 'apt-get install mosquitto-clients',
  mosquitto_sub: 'apt-get install mosquitto-clients',
  openssl: 'apt-get install openssl',
  'python3-paho': 'apt-get install python3 python3-paho-mqtt',
  'python-sdk':
    'python3 -m venv .cache/python-sdk && ' +
    '.cache/python-sdk/bin/pip install -r test/e2e/sdk-python.txt, ' +
    'or name a Python that has them in TERNMQ_TEST_PYTHON',
};

/** The Python that can `import paho.mqtt`, or `undefined`. */
export function findPahoPython(): string | undefined {
  return ['python3', '/usr/bin/python3'].find(
    (python) => spawnSync(python, ['-c', 'import paho.mqtt.client']).status === 0,
  );
}

/** The Python that can `import` the vendor's SDK, or `undefined`. */
export function findSdkPython(): string | undefined {
  const own = join(import.meta.dirname, '..', '..', '.cache', 'python-sdk', 'bin', 'python');
  return [process.env['TERNMQ_TEST_PYTHON'], own]
    .filter((python) => python !== undefined)
    .find(
      (python) => spawnSync(python, ['-c', 'import alibabacloud_onsmqtt20200420']).status === 0,
    );
}

/** Test options: skipped, with the reason, where one of the programs is absent. */
export function needs(...tools: readonly string[]): { readonly skip?: string } {
  const absent = tools.filter((tool) => !isThere(tool));
  if (absent.length === 0) return {};
  const how = absent.map((tool) => HOW_TO_GET[tool] ?? `install ${tool}`);
  return { skip: `${absent.join(', ')} is not here; ${[...new Set(how)].join('; ')}` };
}

function isThere(tool: string): boolean {
  if (tool === 'python3-paho') return findPahoPython() !== undefined;
  if (tool === 'python-sdk') return findSdkPython() !== undefined;
  return spawnSync('sh', ['-c', `command -v ${tool} || test -x /usr/sbin/${tool}`]).status === 0;
}
