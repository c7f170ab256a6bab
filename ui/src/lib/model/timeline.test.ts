import { describe, expect, it } from 'vitest';
import type { MessageView, MsgId, OfferView, PeerId, RoomId } from '../api/generated/api';
import { MOST_LOADED, Timeline, lines } from './timeline';

const ROOM = 'room' as RoomId;
const DAY = 86_400_000;
/** Noon, wherever the tests run. */
const NOON = new Date(2026, 10, 20, 12).getTime();

const message = (seq: number, stored: number, author = 'ada', text = 'hi'): MessageView => ({
  room: ROOM,
  author: author as PeerId,
  name: author,
  seq,
  id: `${author}${seq}` as MsgId,
  at: stored,
  stored,
  text,
  delivered: [],
});
const cursor = (m: MessageView) => ({ stored: m.stored, author: m.author, seq: m.seq });
const seqs = (t: Timeline) => t.messages.map((m) => m.seq);

describe('a timeline', () => {
  it('keeps messages in order and once, however they come', () => {
    const t = new Timeline();
    t.begin({ messages: [message(1, 10), message(2, 20)], before: null });
    expect(t.take(message(4, 40))).toBe(true);
    expect(t.take(message(3, 30))).toBe(true);
    expect(t.take(message(4, 40))).toBe(false);
    expect(seqs(t)).toEqual([1, 2, 3, 4]);
  });

  it('takes new marks of a message in its place', () => {
    const t = new Timeline();
    t.begin({ messages: [message(1, 10), message(2, 20)], before: null });
    t.take({ ...message(1, 10), delivered: ['bob' as PeerId] });
    expect(t.messages[0]?.delivered).toEqual(['bob']);
    expect(seqs(t)).toEqual([1, 2]);
  });

  it('leaves what belongs to a page before to that page', () => {
    const t = new Timeline();
    const first = message(50, 500);
    t.begin({ messages: [first], before: cursor(first) });
    expect(t.take(message(7, 70))).toBe(false);
    expect(seqs(t)).toEqual([50]);
    t.older({ messages: [message(7, 70), first], before: null });
    expect(seqs(t)).toEqual([7, 50]);
    expect(t.take(message(6, 60)), 'nothing older is left to read').toBe(true);
  });

  it('loses nothing that comes while the newest page is read', () => {
    const t = new Timeline();
    t.expect();
    t.take(message(2, 20));
    t.begin({ messages: [message(1, 10)], before: null });
    expect(seqs(t)).toEqual([1, 2]);
    t.expect();
    t.take(message(3, 30));
    t.begin({ messages: [message(1, 10), message(2, 20)], before: null });
    expect(seqs(t)).toEqual([1, 2, 3]);
  });

  it('loses nothing when it is read twice at once', () => {
    const t = new Timeline();
    t.expect();
    t.expect();
    t.begin({ messages: [message(1, 10)], before: null });
    t.take(message(2, 20));
    t.begin({ messages: [message(1, 10)], before: null });
    expect(seqs(t)).toEqual([1, 2]);
  });

  it('shows nothing before the newest page was read', () => {
    const t = new Timeline();
    expect(t.take(message(1, 10))).toBe(false);
    expect(t.messages).toEqual([]);
  });

  it('is bounded, and knows where to go on reading', () => {
    const t = new Timeline();
    t.begin({ messages: [], before: null });
    for (let seq = 1; seq <= MOST_LOADED + 1; seq++) t.take(message(seq, seq));
    expect(t.messages.length).toBeLessThanOrEqual(MOST_LOADED);
    expect(t.messages.at(-1)?.seq).toBe(MOST_LOADED + 1);
    const oldest = t.messages[0];
    expect(t.before).toEqual(oldest && cursor(oldest));
  });
});

describe('the lines of a room', () => {
  const offer = (at: number) =>
    ({ room: ROOM, from: 'bob', offer: `o${at}`, at }) as unknown as OfferView;

  it('stand in the order in which things happened, with their days', () => {
    const messages = [message(1, NOON - DAY), message(2, NOON), message(3, NOON + 1000)];
    const move = { room: 'room', peer: 'bob', name: 'Bob', here: true, at: NOON + 2000 };
    const all = lines({ messages, before: null }, [offer(NOON + 500)], [move]);
    const kinds = ['day', 'message', 'day', 'message', 'offer', 'message', 'move'];
    expect(all.map((l) => l.kind)).toEqual(kinds);
    expect(new Set(all.map((l) => l.key)).size).toBe(all.length);
  });

  it('put messages of one author together unless time or something else is between', () => {
    const messages = [
      message(1, NOON),
      message(2, NOON + 1000),
      message(1, NOON + 2000, 'bob'),
      message(3, NOON + 3000),
      message(4, NOON + 10 * 60_000),
    ];
    const all = lines({ messages, before: null }, [], []);
    const firsts = all.flatMap((l) => (l.kind === 'message' ? [l.first] : []));
    expect(firsts).toEqual([true, false, true, true, true]);
  });

  it('are the same as before where nothing changed, so that nothing is drawn again', () => {
    const messages = [message(1, NOON), message(2, NOON + 1000), message(3, NOON + 2000)];
    const [one, other] = [offer(NOON + 3000), offer(NOON + 4000)];
    const before = lines({ messages, before: null }, [one, other], []);
    const moved = { ...other, done: 1 };
    const after = lines({ messages, before: null }, [one, moved], []);
    const kept = after.filter((l) => l.kind !== 'day' && before.includes(l));
    expect(kept.map((l) => l.key)).toEqual(before.slice(1, -1).map((l) => l.key));
    expect(after.at(-1)).toMatchObject({ kind: 'offer', offer: moved });
    // Something that comes between takes the message after it out of its company.
    const between = lines({ messages, before: null }, [offer(NOON + 500)], []);
    expect(between[3]).toMatchObject({ kind: 'message', first: true });
  });

  it('stand a moment that no calendar has', () => {
    const messages = [message(1, NOON), message(2, 9e15), message(3, 9e15 + 1)];
    const all = lines({ messages, before: null }, [], []);
    expect(all.map((l) => l.kind)).toEqual(['day', 'message', 'day', 'message', 'message']);
  });

  it('leave out what is older than the oldest message that is loaded', () => {
    const messages = [message(9, NOON)];
    const oldest = messages.map(cursor)[0] ?? null;
    expect(lines({ messages, before: oldest }, [offer(NOON - 5)], [])).toHaveLength(2);
    expect(lines({ messages, before: null }, [offer(NOON - 5)], [])).toHaveLength(3);
  });
});
