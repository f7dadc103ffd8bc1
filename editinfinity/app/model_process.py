"""The process of the model: learns photographs, draws tries and finds masks for the app.

Started as ``python -m editinfinity.app.model_process``. It talks to the app over stdin and stdout
(``conversation``), so a crash or a lack of memory costs one edit and not the page. It exits when
stdin is closed, which also happens if the app is killed.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from editinfinity.app.conversation import Cancelled, Conversation, Task
from editinfinity.errors import UserError, first_sentence
from editinfinity.worker.cards import VISIBLE, visible_cards
from editinfinity.worker.leases import Slot, lease, lease_folder, slots_of
from editinfinity.worker.private import private_folder

if TYPE_CHECKING:
    from editinfinity.app.drawing import Drawing


def main() -> None:
    """Load the model, then run tasks until the app is gone."""
    conversation = Conversation(sys.stdin, os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    settings = conversation.first()
    slot = _slot_for(settings["device"])
    if slot.card is not None:
        os.environ[VISIBLE] = slot.card.entry
    try:
        with _leased(slot):
            conversation.tell("loading", part="libraries")
            from editinfinity.app.drawing import Drawing

            start = time.monotonic()
            drawing = Drawing(settings, conversation)
    except UserError as error:
        conversation.tell("failed", line=str(error))
        return
    seconds = time.monotonic() - start
    conversation.tell("ready", device=drawing.device, seconds=seconds)
    for task in conversation.tasks():
        _run(task, slot, drawing, conversation)


def _run(task: Task, slot: Slot, drawing: Drawing, conversation: Conversation) -> None:
    """Run a task and tell how it ended; an unexpected error ends only this task."""
    try:
        with _leased(slot):
            conversation.require_wanted()
            lines = drawing.run(task)
            conversation.require_wanted()
    except UserError as error:
        conversation.tell("fault", line=str(error))
    except Cancelled:
        conversation.tell("cancelled")
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {first_sentence(error)}"
        conversation.tell("fault", line=f"this edit failed unexpectedly ({reason})")
    else:
        conversation.tell("done", lines=lines)


def _slot_for(device: str) -> Slot:
    """Return the GPU or the share of the CPU that this process uses, one that is free if any is."""
    slots = slots_of(device, visible_cards(), 1)
    if len(slots) == 1:
        return slots[0]
    try:
        with lease(slots, lease_folder(private_folder()), lambda _: False) as leased:
            return leased.slot
    except OSError:
        return slots[0]


@contextmanager
def _leased(slot: Slot) -> Iterator[None]:
    """Hold the lease of the slot, as every job that uses a model does."""
    try:
        folder = lease_folder(private_folder())
    except OSError:  # no private folder: jobs run without leases then, too
        yield
        return
    with lease([slot], folder, lambda _: False):
        yield


if __name__ == "__main__":
    main()
