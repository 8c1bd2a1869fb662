"""The vendor's typed Python SDK, driven line by line: a call comes in as JSON, its answer goes out.

The arguments say as whom to call and where. Requests are the SDK's own classes, and every field
of a response is compared with the type that the SDK declares for it.
"""

import json
import re
import sys
import typing

from alibabacloud_onsmqtt20200420 import models
from alibabacloud_onsmqtt20200420.client import Client
from alibabacloud_tea_openapi import models as openapi_models


def snake_case(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def check_types(value, place):
    """Fails where a field is not of its declared type."""
    for name, declared in typing.get_type_hints(type(value).__init__).items():
        check_value(getattr(value, name), declared, f"{place}.{name}")


def check_value(value, declared, place):
    if value is None:
        return
    if typing.get_origin(declared) is list:
        if not isinstance(value, list):
            raise TypeError(f"{place} is no list")
        (member,) = typing.get_args(declared)
        for index, one in enumerate(value):
            check_value(one, member, f"{place}[{index}]")
    elif type(value) is not declared:
        raise TypeError(f"{place} is {type(value).__name__}, not {declared.__name__}")
    elif hasattr(value, "to_map"):
        check_types(value, place)


def call(client, action, parameters):
    request = getattr(models, f"{action}Request")()
    request.from_map(parameters)
    # Lists of objects that were left out become empty ones, which are not sent.
    known = {name: value for name, value in request.to_map().items() if value != []}
    if known != parameters:
        raise TypeError(f"{action}Request knows {known}, not {parameters}")
    response = getattr(client, snake_case(action))(request)
    if type(response) is not getattr(models, f"{action}Response"):
        raise TypeError(f"{action} answered a {type(response).__name__}")
    check_types(response.body, action)
    return response.body.to_map()


def describe(error):
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "code": getattr(error, "code", None),
        "statusCode": getattr(error, "status_code", None),
        "requestId": getattr(error, "request_id", None),
    }


def main():
    client = Client(openapi_models.Config(**json.loads(sys.argv[1])))
    for line in sys.stdin:
        action, parameters = json.loads(line)
        try:
            answer = {"answer": call(client, action, parameters)}
        except Exception as error:  # whatever it is, it is the test's to judge
            answer = {"failure": describe(error)}
        print(json.dumps(answer), flush=True)


main()
