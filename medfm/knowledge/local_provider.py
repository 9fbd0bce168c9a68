"""A language model from a folder on this machine, for prompt generation. Never used by default."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medfm.core.errors import ConfigError, MedfmError, WeightsError
from medfm.core.hashing import sha256_json

_LONGEST_QUESTION = 20_000
_CHUNK = 1 << 22


@dataclass(frozen=True)
class LocalModel:
    """Callable that answers one question with a causal language model read from a folder.

    The folder holds ``config.json``, a tokenizer and weights as ``*.safetensors``, as
    ``save_pretrained`` of transformers writes them. Nothing is downloaded, no code of the folder is
    run, pickled weights are not read. Decoding is greedy: the same folder, question and machine give
    the same answer, whatever the folder's own settings for sampling say.

    Attributes:
        folder: The model's folder.
        max_new_tokens: Longest answer.
        device: Torch device.
    """

    folder: Path
    max_new_tokens: int = 256
    device: str = "cpu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens is {self.max_new_tokens}.", expected="1 or more")
        _check_folder(self.folder)

    @cached_property
    def identity(self) -> str:
        """Name of the folder and a digest of every file that decides an answer; for frozen files."""
        import hashlib

        found = {}
        for path in sorted(p for p in self.folder.iterdir() if p.suffix in (".safetensors", ".json", ".txt", ".jinja")):
            digest = hashlib.sha256()
            with path.open("rb") as stream:
                while block := stream.read(_CHUNK):
                    digest.update(block)
            found[path.name] = digest.hexdigest()
        return f"{self.folder.absolute().name} sha256:{sha256_json(found)[:16]}, greedy, {self.max_new_tokens} tokens"

    def __call__(self, question: str) -> str:
        """The model's answer to `question`, special tokens left out.

        Raises:
            ConfigError: The question is too long for the model.
            WeightsError: The folder cannot be loaded.
            MedfmError: The model gave values that are not finite.
        """
        import torch
        from transformers import GenerationConfig

        tokenizer, model = self._loaded
        ids = _encode(tokenizer, question).to(self.device)
        room = getattr(model.config, "max_position_embeddings", None)
        if room is not None and ids.shape[1] + self.max_new_tokens > room:
            raise ConfigError(
                f"The question has {ids.shape[1]} tokens; with {self.max_new_tokens} for the answer the model has room "
                f"for {room}.",
                where=str(self.folder),
                fix="ask for a shorter answer (max_new_tokens), or take another model",
            )
        ends = model.generation_config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        pad = (
            tokenizer.pad_token_id
            if tokenizer.pad_token_id is not None
            else (ends[0] if isinstance(ends, list) else ends)
        )
        plan = GenerationConfig(
            do_sample=False, num_beams=1, max_new_tokens=self.max_new_tokens, eos_token_id=ends, pad_token_id=pad
        )
        # A model loaded from a folder carries that folder's settings, which would be merged into ours.
        model.generation_config = plan
        with torch.inference_mode():
            logits = model(ids).logits[0, -1]
            if not bool(torch.isfinite(logits).all()):
                raise MedfmError("The language model gave values that are not finite.", where=str(self.folder))
            answer = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=plan)
        return str(tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True)).strip()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as chatter

        bars = chatter.is_progress_bar_enabled()
        chatter.disable_progress_bar()
        safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(self.folder), **safe)
            model = AutoModelForCausalLM.from_pretrained(
                str(self.folder), use_safetensors=True, weights_only=True, dtype=torch.float32, **safe
            )
            return tokenizer, model.eval().to(self.device)
        except Exception as error:  # transformers raises a dozen unrelated kinds; the cause is kept
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise WeightsError(
                f"The language model cannot be loaded: {reason}",
                where=str(self.folder),
                expected="a causal language model that transformers knows, with its tokenizer",
            ) from error
        finally:
            if bars:
                chatter.enable_progress_bar()


def _encode(tokenizer: Any, question: str) -> Any:
    """Token ids int64 (1, t): through the model's chat template where it has one."""
    if len(question) > _LONGEST_QUESTION:
        raise ConfigError(f"The question has {len(question)} characters.", expected=f"at most {_LONGEST_QUESTION}")
    text, special = question, True
    if getattr(tokenizer, "chat_template", None):
        messages = [{"role": "user", "content": question}]
        text, special = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), False
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=special)["input_ids"]
    if ids.shape[1] == 0:
        raise ConfigError("The question is empty.", expected="text")
    return ids


def _check_folder(folder: Path) -> None:
    """Refuse what would need code of the folder, pickles, or a network; before anything is loaded."""
    if not (folder / "config.json").is_file():
        raise WeightsError(
            "This is not the folder of a language model: it has no config.json.",
            where=str(folder),
            expected="config.json, tokenizer files and *.safetensors, as save_pretrained writes them",
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        auto_map = config.get("auto_map")
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError("The language model's config.json cannot be read.", where=str(folder)) from error
    if auto_map:
        raise WeightsError(
            "This language model needs code of its own, which is not run.",
            where=str(folder / "config.json"),
            fix="take a model whose architecture is part of transformers",
        )
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth"))
        raise WeightsError(
            "The language model's weights are pickled, which is not read."
            if pickled
            else "The folder holds no weights of the language model.",
            where=str(folder),
            expected="*.safetensors",
            fix="save the model again with safe_serialization=True" if pickled else "",
        )
