/** Changes applied to a snapshot. The engine's fixtures say what must come out. */

import type { Change, Changes, Snapshot } from '../api/generated/api';

/** The snapshot with the changes applied, or `null` where something is missing in between. */
export function apply(snapshot: Snapshot, changes: Changes): Snapshot | null {
  if (changes.after > snapshot.rev) return null;
  const next = { ...snapshot, rev: Math.max(snapshot.rev, changes.rev) };
  for (const change of changes.changes) applyOne(next, change);
  return next;
}

/** `next` is ours to change, the lists in it are not. */
function applyOne(next: Snapshot, change: Change): void {
  switch (change.type) {
    case 'me': {
      next.me = untagged(change);
      return;
    }
    case 'room': {
      const room = untagged(change);
      next.rooms = put(next.rooms, room, (r) => r.room === room.room);
      return;
    }
    case 'room-gone': {
      const elsewhere = (x: { room: string }) => x.room !== change.room;
      next.rooms = next.rooms.filter(elsewhere);
      next.people = next.people.filter(elsewhere);
      next.offers = next.offers.filter(elsewhere);
      return;
    }
    case 'person': {
      const person = untagged(change);
      const same = (p: typeof person) => p.room === person.room && p.peer === person.peer;
      next.people = put(next.people, person, same);
      return;
    }
    case 'offer': {
      const offer = untagged(change);
      const same = (o: typeof offer) =>
        o.room === offer.room && o.from === offer.from && o.offer === offer.offer;
      next.offers = put(next.offers, offer, same);
      return;
    }
    case 'transfers': {
      next.transfers = untagged(change);
      return;
    }
    case 'message':
      // Messages are paged, not part of a snapshot.
      return;
  }
}

/** The entity without the tag of its change. */
export function untagged<T extends { type: string }>(change: T): Omit<T, 'type'> {
  const { type: _, ...entity } = change;
  return entity;
}

/** In place of the one that is the same entity, or at the end. */
function put<T>(list: T[], entity: T, same: (old: T) => boolean): T[] {
  const at = list.findIndex(same);
  return at < 0 ? [...list, entity] : list.with(at, entity);
}
