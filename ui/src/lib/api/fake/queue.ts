/** Pause, resume and the queue, about as the engine has them. */

import type { OfferRef, OfferView, PeerId, ReceiverView } from '../generated/api';
import { moved, receiver } from './parts';

/** Holds a transfer back here, or no longer; of one of ours for one receiver or for all. */
export function held(old: OfferView, here: boolean, peer: PeerId | null): OfferView {
  if (old.mine) {
    const receivers = old.receivers.map((r) =>
      (peer === null || r.peer === peer) && r.can.length > 0 ? heldOne(r, here) : r,
    );
    return moved({ ...old, receivers }, old.phase);
  }
  const paused = { ...old.paused, here };
  const waits = here || paused.there;
  return moved(old, waits ? 'paused' : 'queued', { paused, queued: undefined, why: undefined });
}

function heldOne(r: ReceiverView, here: boolean): ReceiverView {
  const paused = { ...r.paused, here };
  const waits = here || paused.there;
  return receiver(r.peer, r.name, waits ? 'paused' : 'serving', r.done, { paused });
}

const waits = (o: OfferView) => o.phase === 'queued';
const place = (o: OfferView) => o.queued ?? Infinity;

/** What changes because somebody has made way, or another has come: turns and places. */
export function turns(offers: readonly OfferView[], atOnce: number): OfferView[] {
  const running = offers.filter((o) => o.phase === 'fetching' || o.phase === 'accepted').length;
  const queue = offers.filter(waits).sort((a, b) => place(a) - place(b));
  const begin = queue.splice(0, Math.max(0, atOnce - running));
  return [
    ...begin.map((o) => moved(o, 'fetching', { queued: undefined })),
    ...queue.flatMap((o, i) => (o.queued === i + 1 ? [] : [{ ...o, queued: i + 1 }])),
  ];
}

/** One of the queue before another, or last; those whose place changes. */
export function reordered(
  offers: readonly OfferView[],
  one: OfferView,
  before: OfferRef | null,
): OfferView[] {
  const queue = offers.filter((o) => waits(o) && o !== one).sort((a, b) => place(a) - place(b));
  const at = queue.findIndex((o) => o.offer === before?.offer && o.from === before.from);
  queue.splice(at < 0 ? queue.length : at, 0, one);
  return queue.flatMap((o, i) => (o.queued === i + 1 ? [] : [{ ...o, queued: i + 1 }]));
}
