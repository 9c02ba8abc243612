"""Examples: an admin uploads Context/Response pairs."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from api.auth import ADMINS_ONLY
from api.errors import describe_problems
from api.schemas.example import ExampleImport
from api.services import Services, ServicesDep
from data.cleaning import check_text
from data.ingestion import read_examples
from db.examples import add_examples

PATH = "/v1/admin/examples"
_FILE = {"type": "string", "contentMediaType": "application/octet-stream"}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": _FILE}}
_BODY: dict[str, Any] = {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}

router = APIRouter(tags=["admin"])


@router.post(
    PATH,
    dependencies=[ADMINS_ONLY],
    responses=describe_problems(400, 401, 403, 413, 422, 503),
    openapi_extra={"requestBody": _BODY},
)
async def upload_examples(request: Request, services: ServicesDep) -> ExampleImport:
    """Import a `.csv` or `.jsonl` file, plain or gzipped, with the columns Context, Response and maybe rating.

    All or nothing: if any line is wrong, the problems are listed and nothing is imported.
    """
    return await read_upload(request, services)


async def read_upload(request: Request, services: Services) -> ExampleImport:
    """Import the file of a form. FastAPI would read a declared body before it asks for the key."""
    async with request.form(max_files=1, max_fields=1) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RequestValidationError([{"loc": ("body", "file"), "msg": "Field required"}])
        content = await file.read()
    return await run_in_threadpool(_import_examples, services, file.filename or "", content)


def _import_examples(services: Services, name: str, content: bytes) -> ExampleImport:
    result = read_examples(content, check_text(name))
    with services.database.transaction(is_long=True) as session:
        imported = add_examples(session, result.examples, name, hashlib.sha256(content).hexdigest())
    return ExampleImport(
        rows_read=result.rows_read,
        imported=imported,
        already_there=len(result.examples) - imported,
        dropped=result.dropped,
    )
