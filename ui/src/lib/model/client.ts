/** Hydrate once, then apply changes; a gap means hydrate again. */

import type { Changes, MessageView, Push, Snapshot } from '../api/generated/api';
import { type Host, Refusal } from '../api/host';
import { apply, untagged } from './fold';

/** Changes kept while a snapshot is on its way; beyond, it is read anew. */
const MOST_WAITING = 64;

/** What a client tells. */
export interface Listener {
  /** The state moved on. */
  state(snapshot: Snapshot, changes: Changes | null): void;
  /** A message is new, or its marks changed. */
  message(message: MessageView): void;
  /** The state was read anew: messages may have been missed. */
  hydrated(snapshot: Snapshot): void;
  /** Something that is not state. */
  push(push: Exclude<Push, { type: 'changes' }>): void;
  /** The engine does not answer. */
  failed(why: Refusal): void;
}

/** The engine's state, as far as it was heard of. */
export class Client {
  snapshot: Snapshot | null = null;
  readonly #host: Host;
  readonly #listener: Listener;
  /** Not `null` while a snapshot is on its way. */
  #waiting: Changes[] | null = null;
  /** More came than is kept: what is on its way will not do. */
  #overrun = false;

  constructor(host: Host, listener: Listener) {
    this.#host = host;
    this.#listener = listener;
  }

  /** Listens first, so that nothing falls between the snapshot and the first change. */
  async start(): Promise<void> {
    this.#waiting = [];
    try {
      await this.#host.attach((push) => this.#hear(push));
    } catch (thrown) {
      this.#waiting = null;
      this.#listener.failed(Refusal.from(thrown));
      return;
    }
    await this.#hydrate();
  }

  #hear(push: Push): void {
    if (push.type !== 'changes') {
      this.#listener.push(push);
      return;
    }
    if (this.#waiting) {
      this.#overrun ||= this.#waiting.length >= MOST_WAITING;
      if (!this.#overrun) this.#waiting.push(push);
    } else if (!this.#apply(push)) {
      this.#waiting = [push];
      void this.#hydrate();
    }
  }

  async #hydrate(): Promise<void> {
    // A gap can follow a gap while the engine is busy, but each snapshot is newer than the last.
    for (;;) {
      let snapshot: Snapshot;
      try {
        snapshot = await this.#host.call('snapshot', {});
      } catch (thrown) {
        this.#waiting = null;
        this.#listener.failed(Refusal.from(thrown));
        return;
      }
      this.snapshot = snapshot;
      this.#listener.hydrated(snapshot);
      const waiting = this.#waiting ?? [];
      const whole = !this.#overrun && waiting.every((changes) => this.#apply(changes));
      this.#waiting = whole ? null : [];
      this.#overrun = false;
      if (whole) return;
    }
  }

  #apply(changes: Changes): boolean {
    const next = this.snapshot && apply(this.snapshot, changes);
    if (!next) return false;
    this.snapshot = next;
    for (const change of changes.changes) {
      if (change.type === 'message') this.#listener.message(untagged(change));
    }
    this.#listener.state(next, changes);
    return true;
  }
}
