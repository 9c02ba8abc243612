"""All feedback: an admin reads it in pages, or takes it away as a file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from api.auth import ADMINS_ONLY
from api.errors import describe_problems
from api.exports import MEDIA_TYPES, stream_feedback
from api.pages import NumberCursor, PageLimit, cut_page
from api.schemas.feedback import FeedbackRecord
from api.schemas.fields import Page, Text
from api.services import ServicesDep
from data.vocabulary import Rating
from db.feedback import FeedbackFilter, list_feedback

router = APIRouter(tags=["admin"])

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page; with `format` a file of all that the filter lets through.",
        "content": {media_type: {"schema": {"type": "string"}} for media_type in MEDIA_TYPES.values()},
    },
    **describe_problems(401, 403, 422, 503),
}


@router.get("/v1/admin/feedback", dependencies=[ADMINS_ONLY], response_model=Page[FeedbackRecord], responses=_RESPONSES)
def list_all_feedback(
    services: ServicesDep,
    rating: Rating | None = None,
    version: Annotated[int | None, Query(ge=0, le=2**31 - 1, description="The version that wrote the reply.")] = None,
    rater: Annotated[Text | None, Query(max_length=150)] = None,
    since: Annotated[
        float | None, Query(allow_inf_nan=False, description="Said or changed then or later; seconds since 1970.")
    ] = None,
    form: Annotated[Literal["json", "jsonl", "csv"], Query(alias="format")] = "json",
    cursor: NumberCursor = None,
    limit: PageLimit = 50,
) -> Response | Page[FeedbackRecord]:
    """What raters say, newest first. A file can be imported as examples; its CSV cells are no formulas."""
    wanted = FeedbackFilter(rating=rating, version=version, rater=rater, since_s=since)
    if form != "json":
        headers = {"Content-Disposition": f'attachment; filename="feedback.{form}"'}
        parts = stream_feedback(services.database, wanted, form)
        return StreamingResponse(parts, headers=headers, media_type=MEDIA_TYPES[form])
    with services.database.reading() as session:
        rows, next_cursor = cut_page(list_feedback(session, wanted, limit + 1, cursor), limit, lambda row: row[0].id)
    records = [FeedbackRecord.model_validate(vars(completion) | vars(feedback)) for feedback, completion in rows]
    return Page[FeedbackRecord](data=records, next_cursor=next_cursor)
