"""Clients of a running server, blocking and asyncio, over gRPC."""

from facekit.client.asynchronous import AsyncClient
from facekit.client.blocking import Client
from facekit.client.photos import PhotoLike

__all__ = ["AsyncClient", "Client", "PhotoLike"]
