"""Singer messages on stdout: the SDK's msgspec writer, and what that one cannot encode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from singer_sdk.contrib.msgspec import MsgSpecWriter, serialize_jsonl

if TYPE_CHECKING:
    from singer_sdk.singerlib.encoding.simple import Message

    from tap_sentry_audit.pages import Json


class MessageWriter(MsgSpecWriter):
    """Writes every message that Sentry's JSON can lead to as valid UTF-8 JSON."""

    def serialize_message(self, message: Message) -> bytearray:
        r"""Return the message as a line.

        A lone surrogate, which JSON can name but UTF-8 cannot carry, becomes the six
        characters of its escape (`\ud800`), so that nothing is lost and every target can
        read the line.
        """
        try:
            return super().serialize_message(message)
        except UnicodeEncodeError:
            return serialize_jsonl(_encodable(message.to_dict()))


def _encodable(value: Json) -> Json:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {str(_encodable(key)): _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value
