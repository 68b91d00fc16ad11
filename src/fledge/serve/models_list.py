"""GET /v1/models, /health and /metrics: what is served, and how it goes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from fledge import __version__
from fledge.serve.encoders import ServedEncoder
from fledge.serve.metrics import CONTENT_TYPE
from fledge.serve.served import Served
from fledge.serve.service import Service


def make_router(service: Service) -> APIRouter:
    router = APIRouter()
    served = service.served

    @router.get("/v1/models")
    async def list_models() -> Response:
        data = [describe(one) for one in (*served.models.values(), *served.encoders.values())]
        return JSONResponse({"object": "list", "data": data})

    @router.get("/v1/models/{name:path}")
    async def show_model(name: str) -> Response:
        return JSONResponse(
            describe(served.encoders[name] if name in served.encoders else served.find(name))
        )

    @router.get("/health")
    async def tell_health() -> Response:
        well = all(one.loop.alive for one in served.models.values())
        said = {"status": "ok" if well else "an engine has ended", "fledge": __version__}
        return JSONResponse(said, 200 if well else 503)

    @router.get("/metrics")
    async def tell_metrics() -> Response:
        return Response(service.metrics.write(served), media_type=CONTENT_TYPE)

    return router


def describe(one: Served | ServedEncoder) -> dict[str, Any]:
    return {
        "id": one.name,
        "object": "model",
        "created": one.created,
        "owned_by": "fledge",
        "max_model_len": one.positions,
    }
