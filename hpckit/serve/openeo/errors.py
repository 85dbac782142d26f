"""Errors as openEO's clients read them: `{id, code, message, links}`, with the codes of its `errors.json`."""

from __future__ import annotations

import secrets
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from hpckit.errors import GraphError
from hpckit.serve.problems import Problem

STATUS: Final = {
    "AuthenticationRequired": 401,
    "BillingPlanInvalid": 400,
    "CollectionNotFound": 404,
    "ContentTypeInvalid": 400,
    "CredentialsInvalid": 403,
    "EstimateComplexity": 500,
    "FeatureUnsupported": 501,
    "FileNotFound": 404,
    "FileOperationUnsupported": 400,
    "FilePathInvalid": 400,
    "FileSizeExceeded": 400,
    "InfrastructureBusy": 503,
    "InfrastructureMaintenance": 503,
    "Internal": 500,
    "JobLocked": 400,
    "JobNotFinished": 400,
    "JobNotFound": 404,
    "JobNotStarted": 400,
    "NoDataForUpdate": 400,
    "NotFound": 404,
    "PaymentRequired": 402,
    "PermissionsInsufficient": 403,
    "PredefinedProcessExists": 400,
    "ProcessGraphComplexity": 400,
    "ProcessGraphInvalid": 400,
    "ProcessGraphMissing": 400,
    "ProcessGraphNotFound": 404,
    "ProcessInvalid": 400,
    "ProcessParameterInvalid": 400,
    "ProcessParameterRequired": 400,
    "ProcessParameterUnsupported": 400,
    "ProcessUnsupported": 400,
    "PropertyNotEditable": 400,
    "RequestTimeout": 408,
    "ResultLinkExpired": 410,
    "StorageFailure": 500,
    "StorageQuotaExceeded": 400,
    "TokenInvalid": 403,
}
"""HTTP status of the codes that are used here (openEO API 1.2, `errors.json`)."""
_OF_PROBLEMS: Final = {
    "bad-authorization": "CredentialsInvalid",
    "bad-body": "ProcessInvalid",
    "busy": "InfrastructureBusy",
    "disk-full": "InfrastructureBusy",
    "internal": "Internal",
    "invalid-token": "TokenInvalid",
    "link-expired": "ResultLinkExpired",
    "login-needed": "AuthenticationRequired",
    "no-member": "PermissionsInsufficient",
    "not-found": "NotFound",
    "not-granted": "PermissionsInsufficient",
    "provider-away": "InfrastructureBusy",
    "too-slow": "RequestTimeout",
    "unavailable": "InfrastructureBusy",
    "wrong-password": "CredentialsInvalid",
}
_OF_FAULTS: Final = {"ProcessParameterMissing": "ProcessParameterRequired"}
"""Names of faults in process graphs that differ from those of the API."""


class OpenEoError(Problem):
    """An error that openEO has a code for.

    Parameters
    ----------
    code : str
        Key of `STATUS`, or an exception of a process, whose status is 400.
    message : str
        One sentence.
    hint : str, optional
        What the client can do; it follows the message.
    """

    def __init__(
        self, code: str, message: str, *, hint: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(STATUS.get(code, 400), code, message, hint=hint, headers=headers)


def of_fault(fault: GraphError) -> OpenEoError:
    """Error of a fault in a process graph."""
    return OpenEoError(code_of(fault), sentence(fault))


def code_of(fault: GraphError) -> str:
    """Code of a fault in a process graph."""
    return _OF_FAULTS.get(fault.fault, fault.fault)


def sentence(fault: GraphError) -> str:
    """What a fault says, with the node where it is and the remedy."""
    place = f"node {fault.node!r}: " if fault.node else ""
    return f"{place}{fault}" + (f"; {fault.hint}" if fault.hint else "")


def openeo_answer(problem: Problem) -> Response:
    """The answer to a request for openEO of which something is wrong, whatever found it."""
    code = problem.code if isinstance(problem, OpenEoError) else _OF_PROBLEMS.get(problem.code, _words(problem.code))
    status = STATUS.get(code, problem.status)
    message = problem.detail + (f"; {problem.hint}" if problem.hint else "")
    body: dict[str, Any] = {"id": secrets.token_hex(8), "code": code, "message": message, "links": []}
    return JSONResponse(body, status, {"Cache-Control": "no-store"} | problem.headers)


def _words(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("-"))
