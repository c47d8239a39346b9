"""Which instances of a film are the same from frame to frame: ByteTrack, of the package trackers.

It goes by boxes and how they move. It is shown what is drawn and no more: what Matrix NMS has
decayed lies on others, and would draw an instance that is hidden for a while over to them.
"""

import dataclasses
import itertools

import numpy as np

from solojax.inference.result import Result
from solojax.types import InputError

PLACE = "place"  # of a detection in its result: ByteTrack puts them into another order


class Tracker:
    """Numbers the instances of one film, from 1 on; called with each frame in turn.

    An instance that is not found for 30 frames in a row is another one when it comes back.

    Raises:
      InputError: there is no ``pip install "solojax[track]"``.
    """

    def __init__(self) -> None:
        try:
            import supervision
            import trackers
        except ImportError:
            raise InputError('--track needs trackers; pip install "solojax[track]"') from None
        self._detections = supervision.Detections
        self._tracker = trackers.ByteTrackTracker(minimum_consecutive_frames=1)
        self._ids = itertools.count(1)

    def __call__(self, result: Result) -> Result:
        """The same detections with ids."""
        boxes, ids = result.boxes, np.zeros(len(result), np.int32)
        found = self._tracker.update(self._detections(boxes, data={PLACE: np.arange(len(result))}))
        if len(result):
            ids[np.asarray(found.data[PLACE])] = np.asarray(found.tracker_id)
        # One that is new is numbered when it is seen again, there; here it is at once.
        new = np.flatnonzero(ids < 0).tolist()
        for track in self._tracker.tracks:
            if track.tracker_id < 0:
                begin = track.get_state_bbox()
                place = min(new, key=lambda i: np.abs(boxes[i] - begin).sum())
                new.remove(place)
                ids[place] = track.tracker_id = next(self._ids)
        return dataclasses.replace(result, ids=ids)
