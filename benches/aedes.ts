/** The aedes broker on a free port, as its own documentation starts it. */
import { createServer } from 'node:net';
import { Aedes } from 'aedes';

const aedes = await Aedes.createBroker();
const server = createServer(aedes.handle);
server.listen({ port: 0, host: '127.0.0.1' }, () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') {
    console.log(`ready mqtt://127.0.0.1:${address.port}`);
  }
});
