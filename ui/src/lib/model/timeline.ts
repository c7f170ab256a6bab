/** The messages of a room that are loaded, and the lines a room shows of them. */

import type { Cursor, History, MessageView, OfferView, PeerId } from '../api/generated/api';
import type { Move } from './moves';

/** Most messages kept; the oldest are read again when they are asked for. */
export const MOST_LOADED = 5000;
/** Messages of one author within this many milliseconds stand together. */
const TOGETHER = 5 * 60_000;

/** One line of a room. */
export type Line =
  | { kind: 'day'; key: string; at: number }
  | { kind: 'message'; key: string; at: number; message: MessageView; first: boolean }
  | { kind: 'offer'; key: string; at: number; offer: OfferView }
  | { kind: 'move'; key: string; at: number; move: Move };

/** The loaded messages of one room: the newest ones, without a gap. */
export class Timeline {
  /** Oldest first. */
  messages: readonly MessageView[] = [];
  /** Where older ones begin; `null` at the beginning of the room. */
  before: Cursor | null = null;
  /** Whether the newest page has been read. */
  loaded = false;
  #known = new Set<string>();
  /** Messages that came while a page is on its way, which may not hold them. */
  #early: MessageView[] = [];
  /** Pages that are on their way. */
  #expected = 0;

  /** The newest page is about to be read. */
  expect(): void {
    this.#expected++;
  }

  /** It could not be read. */
  unexpect(): void {
    this.#expected = Math.max(0, this.#expected - 1);
    if (this.#expected === 0) this.#early = [];
  }

  /** The newest page. What was loaded before is forgotten: something may be missing in between. */
  begin(page: History): void {
    this.#set([...page.messages].sort(order));
    this.before = page.before;
    this.loaded = true;
    this.#expected = Math.max(0, this.#expected - 1);
    const early = this.#early;
    this.#early = [];
    for (const message of early) this.take(message);
  }

  /** The page before. */
  older(page: History): void {
    const fresh = page.messages.filter((m) => !this.#known.has(messageKey(m)));
    this.#set([...fresh, ...this.messages].sort(order));
    this.before = page.before;
  }

  /** A message is new or its marks changed; whether it is new here. */
  take(message: MessageView): boolean {
    if (this.#expected > 0 && this.#early.length < MOST_LOADED) this.#early.push(message);
    const key = messageKey(message);
    if (this.#known.has(key)) {
      const at = this.messages.findLastIndex((m) => messageKey(m) === key);
      this.messages = this.messages.with(at, message);
      return false;
    }
    const oldest = this.messages[0];
    // It will come with its page.
    if (!this.loaded || (this.before && oldest && order(message, oldest) < 0)) return false;
    const after = this.messages.findLastIndex((m) => order(m, message) < 0);
    this.messages = this.messages.toSpliced(after + 1, 0, message);
    this.#known.add(key);
    this.#bound();
    return true;
  }

  #set(messages: readonly MessageView[]): void {
    this.messages = messages;
    this.#known = new Set(messages.map(messageKey));
  }

  #bound(): void {
    if (this.messages.length <= MOST_LOADED) return;
    this.#set(this.messages.slice(-MOST_LOADED / 2));
    const oldest = this.messages[0];
    if (oldest) this.before = { stored: oldest.stored, author: oldest.author, seq: oldest.seq };
  }
}

/**
 * Messages, offers, comings and goings in the order in which they happened here. Called for every
 * change, so what has not changed is the same line as before: neither made nor drawn again.
 */
export function lines(
  timeline: Pick<Timeline, 'messages' | 'before'>,
  offers: readonly OfferView[],
  moves: readonly Move[],
): Line[] {
  // What is older than the oldest message comes with its page.
  const oldest = timeline.before ? (timeline.messages[0]?.stored ?? 0) : 0;
  const others = [...offers.map(offerLine), ...moves.map(moveLine)]
    .filter((line) => line.at >= oldest)
    .sort((a, b) => a.at - b.at);
  const out: Line[] = [];
  let day = { name: '', from: 0, to: 0 };
  let author: PeerId | null = null;
  let last = 0;
  let next = 0;
  const begin = (at: number) => {
    if (at >= day.from && at < day.to) return;
    const before = day.name;
    day = dayOf(at);
    if (day.name === before) return;
    author = null;
    out.push({ kind: 'day', key: `d ${day.name}`, at });
  };
  const add = (until: number) => {
    for (let line = others[next]; line && line.at < until; line = others[++next]) {
      begin(line.at);
      author = null;
      out.push(line);
    }
  };
  for (const message of timeline.messages) {
    add(message.stored);
    begin(message.stored);
    const first = message.author !== author || message.stored - last > TOGETHER;
    out.push(messageLine(message, first));
    author = message.author;
    last = message.stored;
  }
  add(Infinity);
  return out;
}

/** The lines that were made, by what they show. */
const made = new WeakMap<MessageView | OfferView | Move, Line>();

function messageLine(message: MessageView, first: boolean): Line {
  const known = made.get(message);
  if (known?.kind === 'message' && known.first === first) return known;
  const key = `m ${messageKey(message)}`;
  return keep(message, { kind: 'message', key, at: message.stored, message, first });
}

function offerLine(offer: OfferView): Line {
  return (
    made.get(offer) ?? keep(offer, { kind: 'offer', key: offerKey(offer), at: offer.at, offer })
  );
}

function moveLine(move: Move): Line {
  const key = `v ${move.peer} ${move.at} ${move.here}`;
  return made.get(move) ?? keep(move, { kind: 'move', key, at: move.at, move });
}

function keep(what: MessageView | OfferView | Move, line: Line): Line {
  made.set(what, line);
  return line;
}

/** The day of a moment, here, and where it begins and ends: not every day has 24 hours. */
function dayOf(at: number) {
  const date = new Date(at);
  const [year, month, day] = [date.getFullYear(), date.getMonth(), date.getDate()];
  const from = new Date(year, month, day).getTime();
  return { name: date.toDateString(), from, to: new Date(year, month, day + 1).getTime() };
}

/** Names an offer among all rooms. */
export const offerKey = (o: Pick<OfferView, 'room' | 'from' | 'offer'>) =>
  `o ${o.room} ${o.from} ${o.offer}`;

const messageKey = (m: MessageView) => `${m.author} ${m.seq}`;

function order(a: MessageView, b: MessageView): number {
  return a.stored - b.stored || compare(a.author, b.author) || a.seq - b.seq;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
