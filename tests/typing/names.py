"""A name that is none of ours is refused, though all of them are loaded when they are first used."""

import holdfast
import holdfast.auth
import holdfast.client
import holdfast.testing

holdfast.Pipelyn()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
holdfast.auth.Secrets()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
holdfast.client.Servise()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
holdfast.testing.Replies()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
