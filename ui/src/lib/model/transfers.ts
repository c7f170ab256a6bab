/** All transfers of all rooms in one list: what runs, what waits, what is held up, what is done. */

import type { OfferRef, OfferView, ReceiverView } from '../api/generated/api';
import type { Rates } from './rate';
import { offerKey } from './timeline';

/** Where a transfer stands in the list. */
export type Group = 'held' | 'running' | 'queued' | 'paused' | 'finished';

/** In the order in which they are shown: what needs somebody comes first. */
export const GROUPS: readonly Group[] = ['held', 'running', 'queued', 'paused', 'finished'];

/** The group of an offer; `null` where nobody has taken it. */
export function groupOf(offer: OfferView): Group | null {
  switch (offer.phase) {
    case 'accepted':
    case 'fetching':
    case 'stalled':
      return 'running';
    case 'queued':
      return 'queued';
    case 'paused':
      return 'paused';
    case 'blocked':
    case 'failed':
      return 'held';
    case 'done':
      return 'finished';
    case 'offered':
    case 'declined':
    case 'withdrawn':
      return null;
    case 'seen':
      return offer.mine ? groupOfOwn(offer) : null;
  }
}

/** Whatever moves counts most: one who is held up does not hold up the others. */
function groupOfOwn({ receivers, paused }: OfferView): Group | null {
  const any = (...phases: ReceiverView['phase'][]) =>
    receivers.some((r) => phases.includes(r.phase));
  if (any('serving', 'stalled')) return 'running';
  if (any('blocked')) return 'held';
  // Also for those who take it later.
  if (any('paused') || paused.here) return 'paused';
  if (any('queued', 'waiting')) return 'running';
  return any('done') ? 'finished' : null;
}

/** Whether it is under way, or would be: only then a bound or a pause means anything. */
export function isOpen(offer: OfferView): boolean {
  const group = groupOf(offer);
  return group !== null && group !== 'finished';
}

/** All transfers by group. The queue is in its order, the others have the newest first. */
export function grouped(offers: readonly OfferView[]): Record<Group, OfferView[]> {
  const all: Record<Group, OfferView[]> = {
    held: [],
    running: [],
    queued: [],
    paused: [],
    finished: [],
  };
  for (const offer of offers) {
    const group = groupOf(offer);
    if (group) all[group].push(offer);
  }
  for (const group of GROUPS) all[group].sort((a, b) => b.at - a.at);
  all.queued.sort((a, b) => (a.queued ?? Infinity) - (b.queued ?? Infinity));
  return all;
}

/** Bytes a second of all transfers, each way. */
export function speeds(offers: readonly OfferView[], rates: Rates): { down: number; up: number } {
  let [down, up] = [0, 0];
  for (const offer of offers) {
    down += rates.of(offerKey(offer))?.rate() ?? 0;
    for (const r of offer.receivers) up += rates.of(receiverKey(offer, r))?.rate() ?? 0;
  }
  return { down, up };
}

/** Names what one receiver gets, for its rate. */
export const receiverKey = (offer: OfferView, receiver: Pick<ReceiverView, 'peer'>) =>
  `${offerKey(offer)} ${receiver.peer}`;

/** Names an offer to the engine. */
export const ref = ({ room, from, offer }: OfferView): OfferRef => ({ room, from, offer });

/**
 * What one of the queue stands before once it is at place `to` (from 0); `null` for the last place,
 * `undefined` where nothing changes.
 */
export function placed(
  queue: readonly OfferView[],
  moved: OfferView,
  to: number,
): OfferRef | null | undefined {
  const at = queue.findIndex((o) => offerKey(o) === offerKey(moved));
  const goal = Math.max(0, Math.min(to, queue.length - 1));
  if (at < 0 || at === goal) return undefined;
  const next = queue.toSpliced(at, 1)[goal];
  return next ? ref(next) : null;
}

/**
 * What is paused when everything is: those that wait first and from the end, so that none of them
 * begins because another has made way.
 */
export function toPause(offers: readonly OfferView[]): OfferView[] {
  const { queued, ...others } = grouped(offers);
  const all = [...queued.toReversed(), ...GROUPS.flatMap((g) => (g === 'queued' ? [] : others[g]))];
  return all.filter((o) => isOpen(o) && o.can.includes('pause'));
}

/** What goes on when everything does, in the order of the list. */
export function toResume(offers: readonly OfferView[]): OfferView[] {
  const all = grouped(offers);
  return GROUPS.flatMap((g) => all[g]).filter((o) => o.can.includes('resume'));
}

/** What the receivers of an offer have together. */
export interface Sum {
  /** Those who have everything. */
  have: number;
  /** Those who took it: they have it, or get it. */
  took: number;
  /** Those who are held back by a hand. */
  paused: number;
  /** Those whose disk does not take it, or who gave up. */
  held: number;
  /** Bytes that those who took it have, and will have. */
  done: number;
  total: number;
  /** Some get data now. */
  moving: boolean;
}

/** Adds them up. */
export function sum(offer: Pick<OfferView, 'receivers' | 'total'>): Sum {
  const took = offer.receivers.filter((r) => r.phase !== 'offered' && r.phase !== 'declined');
  const count = (...phases: ReceiverView['phase'][]) =>
    took.filter((r) => phases.includes(r.phase)).length;
  return {
    have: count('done'),
    took: took.length,
    paused: count('paused'),
    held: count('blocked', 'failed'),
    done: took.reduce((all, r) => all + r.done, 0),
    total: took.length * offer.total,
    moving: count('serving') > 0,
  };
}

/**
 * The one of pause and resume that a button stands for: where some receivers of ours are paused and
 * others not, whatever moves is stopped first.
 */
export function turn(offer: OfferView): 'pause' | 'resume' | null {
  if (!isOpen(offer)) return null;
  const [pause, resume] = [offer.can.includes('pause'), offer.can.includes('resume')];
  if (pause && resume) return offer.mine && sum(offer).moving ? 'pause' : 'resume';
  if (pause) return 'pause';
  return resume ? 'resume' : null;
}
