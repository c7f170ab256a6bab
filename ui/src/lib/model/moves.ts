/** Who came and who went, for lines in the timeline. */

import type { PersonView } from '../api/generated/api';

/** Somebody came or went. */
export interface Move {
  room: string;
  peer: string;
  name: string;
  here: boolean;
  /** Milliseconds since 1970. */
  at: number;
}

/** Most lines kept of one room. */
const MOST = 500;

/** The coming and going in all rooms, as far as this window saw it. */
export class Moves {
  readonly #here = new Map<string, boolean>();
  readonly #moves = new Map<string, Move[]>();

  /** People as a snapshot has them: nobody is announced. */
  hydrate(people: readonly PersonView[]): void {
    for (const p of people) this.#here.set(key(p), isHere(this.#here.get(key(p)) ?? false, p));
  }

  /** A person changed. */
  take(person: PersonView, at: number): Move | null {
    const before = this.#here.get(key(person)) ?? false;
    const here = isHere(before, person);
    this.#here.set(key(person), here);
    if (here === before) return null;
    const { room, peer, name } = person;
    const move = { room, peer, name, here, at };
    const list = [...(this.#moves.get(room) ?? []), move].slice(-MOST);
    this.#moves.set(room, list);
    return move;
  }

  /** All of them in a room, oldest first. */
  of(room: string): readonly Move[] {
    return this.#moves.get(room) ?? [];
  }

  /** A room is gone. */
  forget(room: string): void {
    this.#moves.delete(room);
    for (const k of this.#here.keys()) if (k.startsWith(`${room} `)) this.#here.delete(k);
  }
}

/**
 * Here once connected, and until gone from the room and the link: a path that is being looked for
 * is not worth a line.
 */
function isHere(before: boolean, person: PersonView): boolean {
  if (person.link === 'connected') return true;
  const ended = person.link === 'disconnected' || person.link === 'failed';
  return ended && person.presence === 'offline' ? false : before;
}

const key = (p: PersonView) => `${p.room} ${p.peer}`;
