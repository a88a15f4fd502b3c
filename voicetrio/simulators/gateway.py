"""VideoSDK's inference gateway, simulated: all of its endpoints behind one address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from ._router import Router
from .chat import ChatOptions, ChatSimulator
from .gateway_denoise import GatewayDenoiseOptions, GatewayDenoiseSimulator
from .gateway_realtime import GatewayRealtimeOptions, GatewayRealtimeSimulator
from .gateway_stt import GatewaySTTOptions, GatewaySTTSimulator
from .gateway_tts import GatewayTTSOptions, GatewayTTSSimulator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._chat_reply import ChatReply
    from ._server import Simulator
    from ._speech import Voice

__all__ = ["GatewayOptions", "GatewaySimulator"]


@attrs.frozen(kw_only=True)
class GatewayOptions(GatewayTTSOptions, GatewayRealtimeOptions, GatewayDenoiseOptions, GatewaySTTOptions, ChatOptions):
    """How the simulated gateway behaves: the options of its endpoints in one, those of the same name for all."""


class GatewaySimulator(Router[GatewayOptions]):
    """A server that speaks the gateway's protocols.

    Args:
        options: how it behaves, to begin with.
        voice: what speaks if the options say ``voice``.
        replies: what the language models answer, as :class:`~voicetrio.simulators.ChatSimulator` takes it.

    Raises:
        ValueError: the options say ``voice`` and there is none.
    """

    path: ClassVar[str] = ""

    def __init__(
        self,
        options: GatewayOptions | None = None,
        *,
        voice: Voice | None = None,
        replies: Iterable[ChatReply] = (),
    ) -> None:
        options = GatewayOptions() if options is None else options
        endpoints: dict[str, Simulator[Any]] = {
            GatewayTTSSimulator.endpoint: GatewayTTSSimulator(options, voice=voice),
            GatewayRealtimeSimulator.endpoint: GatewayRealtimeSimulator(options, voice=voice),
            GatewayDenoiseSimulator.path: GatewayDenoiseSimulator(options),
            GatewaySTTSimulator.endpoint: GatewaySTTSimulator(options),
            "/v1/chat/completions": ChatSimulator(options, replies=replies),
        }
        super().__init__(options, endpoints)
