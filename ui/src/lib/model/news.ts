/** What is told of transfers to those who do not see them: each turn of one, once. */

import type { OfferView, ReceiverView } from '../api/generated/api';
import * as inert from './inert';
import { fetchStanding, serveStanding } from './standing';
import { offerKey } from './timeline';
import { receiverKey } from './transfers';

/** Names somebody of the offer's room. */
export type NameOf = (offer: OfferView) => string;

/** How transfers stood when they were looked at last. */
export class News {
  readonly #stood = new Map<string, string>();

  /** Offers as a snapshot has them: nothing is told. */
  hydrate(offers: readonly OfferView[]): void {
    this.#stood.clear();
    for (const offer of offers) {
      this.#stood.set(offerKey(offer), state(offer));
      for (const r of offer.receivers) this.#stood.set(receiverKey(offer, r), state(r));
    }
  }

  /** An offer changed; what is to be told of it. */
  take(offer: OfferView, nameOf: NameOf): string | null {
    const name = inert.name(offer.name);
    let told: string | null = null;
    if (this.#turned(offerKey(offer), offer) && !offer.mine) told = ofFetch(offer, nameOf(offer));
    for (const r of offer.receivers) {
      if (this.#turned(receiverKey(offer, r), r)) told = ofReceiver(r) ?? told;
    }
    return told && `${name}: ${told}`;
  }

  #turned(key: string, what: OfferView | ReceiverView): boolean {
    const now = state(what);
    const before = this.#stood.get(key);
    this.#stood.set(key, now);
    return before !== now;
  }
}

/** What of a transfer is worth a word when it changes. */
function state({ phase, paused, why }: OfferView | ReceiverView): string {
  return `${phase} ${paused.here} ${paused.there} ${why ?? ''}`;
}

function ofFetch(offer: OfferView, who: string): string | null {
  switch (offer.phase) {
    case 'offered':
      return `${who} offers it`;
    case 'paused':
    case 'blocked':
    case 'failed':
    case 'done':
    case 'withdrawn':
      return fetchStanding(offer, who).word;
    case 'seen':
    case 'accepted':
    case 'queued':
    case 'fetching':
    case 'stalled':
    case 'declined':
      return null;
  }
}

function ofReceiver(receiver: ReceiverView): string | null {
  const who = inert.name(receiver.name);
  switch (receiver.phase) {
    case 'paused':
      return serveStanding(receiver, who).word;
    case 'blocked':
    case 'done':
    case 'declined':
    case 'failed':
      return `${who}: ${serveStanding(receiver, who).word}`;
    case 'offered':
    case 'queued':
    case 'waiting':
    case 'serving':
    case 'stalled':
      return null;
  }
}
