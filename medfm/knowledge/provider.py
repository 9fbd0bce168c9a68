"""A language model behind an OpenAI-compatible address, for prompt generation. Never used by default."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field

from medfm.core.errors import ConfigError, MedfmError, OfflineError
from medfm.core.offline import is_offline

_LONGEST_REPLY = 4_000_000


@dataclass(frozen=True)
class OpenAICompatible:
    """Callable that sends one question to ``URL/chat/completions`` and returns the answer.

    Only the question is sent: names of classes, never a record or a patient's data.

    Attributes:
        url: Base address, such as ``http://localhost:8000/v1``.
        model: Name of the model there.
        api_key: Sent as bearer token where given; shown nowhere.
        timeout_s: Longest wait for one answer.
        seed: Handed to the server; temperature is 0.
    """

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"'{self.url}' is not an address.", expected="http:// or https://")

    def __call__(self, question: str) -> str:
        """The model's answer to `question`.

        Raises:
            OfflineError: The process is offline.
            MedfmError: The server cannot be reached, refuses, or answers in another form.
        """
        address = self.url.rstrip("/") + "/chat/completions"
        if is_offline():
            raise OfflineError(
                "A language model would be asked, but the process is offline.",
                where=address,
                fix="use a frozen prompt file, or unset MEDFM_OFFLINE and HF_HUB_OFFLINE",
            )
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "seed": self.seed,
        }
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as reply:
                text = reply.read(_LONGEST_REPLY)
        except urllib.error.HTTPError as error:
            raise MedfmError(f"The language model refused: HTTP {error.code}.", where=address) from error
        except OSError as error:
            raise MedfmError(f"The language model cannot be reached: {error}.", where=address) from error
        try:
            answer = json.loads(text)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise MedfmError("The reply is not a chat completion.", where=address) from error
        if not isinstance(answer, str):
            raise MedfmError("The reply holds no text.", where=address)
        return answer
