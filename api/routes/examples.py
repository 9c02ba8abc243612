"""Examples: an admin uploads Context/Response pairs."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, UploadFile

from api.auth import ADMINS_ONLY
from api.errors import describe_problems
from api.schemas.example import ExampleImport
from api.services import ServicesDep
from data.cleaning import check_text
from data.ingestion import read_examples
from db.examples import add_examples

PATH = "/v1/admin/examples"

router = APIRouter(tags=["admin"])


@router.post(PATH, dependencies=[ADMINS_ONLY], responses=describe_problems(400, 401, 403, 413, 422, 503))
def upload_examples(file: UploadFile, services: ServicesDep) -> ExampleImport:
    """Import a `.csv` or `.jsonl` file, plain or gzipped, with the columns Context, Response and maybe rating.

    All or nothing: if any line is wrong, the problems are listed and nothing is imported.
    """
    name = check_text(file.filename or "")
    content = file.file.read()
    result = read_examples(content, name)
    with services.database.transaction() as session:
        imported = add_examples(session, result.examples, name, hashlib.sha256(content).hexdigest())
    return ExampleImport(
        rows_read=result.rows_read,
        imported=imported,
        already_there=len(result.examples) - imported,
        dropped=result.dropped,
    )
