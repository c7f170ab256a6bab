/** How transfers stand, in words. */

import type { Code, OfferView, Paused, ReceiverView } from '../api/generated/api';
import { CODE_TEXTS } from '../api/generated/codes';
import type { RateMeter } from './rate';
import { sum } from './transfers';
import type { Tone } from './words';
import * as words from './words';

/** A state in a few words, and how it is to be felt about. */
export interface Standing {
  word: string;
  tone: Tone;
  /** What happens next, where it is not plain. */
  next?: string;
}

/** How a fetch stands; `who` offers it. */
export function fetchStanding(
  offer: Pick<OfferView, 'phase' | 'paused' | 'queued' | 'missing' | 'why'>,
  who: string,
): Standing {
  switch (offer.phase) {
    case 'seen':
      return { word: 'Reading the list of files', tone: 'busy' };
    case 'offered':
      return { word: 'Waiting for you', tone: 'busy' };
    case 'accepted':
      return { word: 'Preparing', tone: 'busy' };
    case 'queued':
      return { word: queuedWord(offer.queued ?? 0), tone: 'quiet' };
    case 'fetching':
      return { word: 'Receiving', tone: 'busy' };
    case 'paused':
      return { word: pausedWord(offer.paused, who), tone: 'quiet' };
    case 'blocked':
      return {
        word: offer.why ? CODE_TEXTS[offer.why] : 'The disk does not take it.',
        tone: 'warn',
        next: goesOn(offer.why, offer.missing),
      };
    case 'stalled':
      return { word: 'Waiting for somebody who has it; it goes on by itself', tone: 'warn' };
    case 'done':
      return { word: 'Received and checked', tone: 'good' };
    case 'failed':
      return { word: offer.why ? CODE_TEXTS[offer.why] : 'Failed', tone: 'bad' };
    case 'declined':
      return { word: 'Declined', tone: 'quiet' };
    case 'withdrawn':
      return { word: 'No longer offered', tone: 'quiet' };
  }
}

/** How a receiver of our offer stands; `who` it is. */
export function serveStanding(
  receiver: Pick<ReceiverView, 'phase' | 'paused' | 'why'>,
  who: string,
): Standing {
  switch (receiver.phase) {
    case 'offered':
      return { word: 'Has not decided', tone: 'quiet' };
    case 'queued':
      return { word: 'Took it, others come first', tone: 'quiet' };
    case 'waiting':
      return { word: 'Waits until the others have it', tone: 'quiet' };
    case 'serving':
      return { word: 'Receiving', tone: 'busy' };
    case 'paused':
      return { word: pausedWord(receiver.paused, who), tone: 'quiet' };
    case 'blocked':
      return { word: `${theirDisk(receiver.why)}; goes on by itself`, tone: 'warn' };
    case 'stalled':
      return { word: 'Connection lost; goes on by itself', tone: 'warn' };
    case 'done':
      return { word: 'Has everything', tone: 'good' };
    case 'declined':
      return { word: 'Declined', tone: 'quiet' };
    case 'failed':
      return { word: failedThere(receiver.why), tone: 'bad' };
  }
}

/** How all receivers of an offer of ours stand together: `1 of 4 have it · 2 paused`. */
export function sumWord(offer: Pick<OfferView, 'receivers' | 'total'>): string {
  const { have, paused, held } = sum(offer);
  const parts = [`${have} of ${offer.receivers.length} have it`];
  if (paused > 0) parts.push(`${paused} paused`);
  if (held > 0) parts.push(`${held} held up`);
  return parts.join(' · ');
}

/** How files come to several people, where that is decided; nothing for one alone. */
export function strategyWord(
  offer: Pick<OfferView, 'mine' | 'strategy' | 'receivers'>,
): string | null {
  if (!offer.mine) return offer.strategy === 'swarm' ? 'from several people at once' : null;
  if (offer.receivers.length < 2) return null;
  switch (offer.strategy) {
    case 'sequential':
      return 'one after the other';
    case 'parallel':
      return 'to all at once';
    case 'swarm':
      return 'receivers help each other';
    case undefined:
      return null;
  }
}

/** How far, how fast and how long: `42 % · 3.2 MB/s · 2 min left`. */
export function numbers(done: number, total: number, meter?: RateMeter): string[] {
  const parts = [`${words.percent(done, total)}\u00a0%`];
  const [rate, eta] = [meter?.rate(), meter?.eta(total)];
  if (rate) parts.push(words.speed(rate));
  if (eta !== null && eta !== undefined) parts.push(words.left(eta));
  return parts;
}

function queuedWord(place: number): string {
  if (place < 1) return 'Waits for its turn';
  return place === 1 ? 'Waits for its turn, next' : `Waits for its turn, ${words.ordinal(place)}`;
}

function pausedWord({ here, there }: Paused, who: string): string {
  if (here && there) return `You and ${who} paused it`;
  return there ? `${who} paused it` : 'You paused it';
}

/** What comes after the word of a disk that refuses: Kith looks again by itself. */
function goesOn(why: Code | undefined, missing: number | undefined): string {
  if (why === 'disk-full' && missing) {
    return `${words.size(missing)} more are needed; it goes on by itself then.`;
  }
  return why ? 'It goes on by itself then.' : 'Kith tries again by itself.';
}

/** Why a receiver's disk does not take it. */
function theirDisk(why: Code | undefined): string {
  switch (why) {
    case 'disk-full':
    case 'disk-quota':
      return 'Their disk is full';
    case 'disk-denied':
    case 'disk-read-only':
      return 'Their folder cannot be written';
    case 'disk-gone':
      return 'Their folder is gone';
    default:
      return 'Their disk has a problem';
  }
}

/** Why a receiver gave up: the texts of codes speak of one's own disk. */
function failedThere(why: Code | undefined): string {
  if (!why) return 'Failed';
  return why.startsWith('disk-') ? theirDisk(why) : CODE_TEXTS[why];
}
