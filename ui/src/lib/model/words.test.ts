import { describe, expect, it } from 'vitest';
import type { LinkPhase, PersonView, Presence, RoomView, SessionPhase } from '../api/generated/api';
import * as words from './words';

describe('words', () => {
  it('give sizes as the command line does', () => {
    for (const [bytes, want] of [
      [0, '0 bytes'],
      [1, '1 byte'],
      [999, '999 bytes'],
      [1000, '1.0 kB'],
      [3_210_000, '3.2 MB'],
      [9_949_999, '9.9 MB'],
      [9_960_000, '10 MB'],
      [300_000_000, '300 MB'],
      [999_600_000, '1.0 GB'],
      [Number.MAX_SAFE_INTEGER, '9.0 PB'],
    ] as const) {
      expect(words.size(bytes)).toBe(want);
    }
  });

  it('say how long it takes without pretending to know', () => {
    expect([2, 31, 61, 3720, 1e9].map(words.left)).toEqual([
      'a few seconds left',
      '35 s left',
      '2 min left',
      '1 h 2 min left',
      'more than a day left',
    ]);
  });

  it('count places', () => {
    expect([1, 2, 3, 4, 11, 12, 13, 21, 102, 111, 1003].map(words.ordinal).join(' ')).toBe(
      '1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 111th 1,003rd',
    );
  });

  it('are at a hundred percent only when all is there', () => {
    expect(words.percent(999_999, 1_000_000)).toBe(99);
    expect(words.percent(5, 5)).toBe(100);
    expect(words.percent(0, 0)).toBe(100);
    expect(words.percent(-1, 10)).toBe(0);
  });

  it('tell every state of a link apart', () => {
    const links: LinkPhase[] = [
      'disconnected',
      'signaling',
      'connecting',
      'connected',
      'reconnecting',
      'failed',
    ];
    const say = (link: LinkPhase, presence: Presence, more: Partial<PersonView> = {}) => {
      const { word, detail } = words.person({ link, presence, ...more } as PersonView);
      return `${word}: ${detail}`;
    };
    expect(new Set(links.map((l) => say(l, 'online'))).size).toBe(links.length);
    expect(say('connected', 'online', { route: 'relay' })).toBe('Online: through a relay');
    expect(say('connected', 'silent')).toContain('nothing heard');
    expect(say('disconnected', 'offline')).toBe('Offline: not in the room');
    expect(say('failed', 'online', { why: 'no-route' })).toContain('firewalls');
  });

  it('speak of the room server only when something is to be said', () => {
    const say = (session: SessionPhase) => words.server({ session } as RoomView);
    expect(say('joined')).toBeNull();
    expect(say('waiting')?.text).toContain('stays connected');
    expect(say('refused')?.refused).toBe(true);
  });

  it('name a room by who is in it unless it was named', () => {
    const room = { room: 'r' } as RoomView;
    const people = (...names: string[]) => names.map((name) => ({ name }) as PersonView);
    const title = (p: PersonView[], own?: string) =>
      words.roomTitle(room, p, { room_names: own ? { [room.room]: own } : {} });
    expect(title([])).toBe('New room');
    expect(title(people('Ada'))).toBe('Ada');
    expect(title(people('Ada', 'Bob'))).toBe('Ada and Bob');
    expect(title(people('A', 'B', 'C', 'D'))).toBe('A, B and 2 others');
    expect(title(people('Ada'), 'Family')).toBe('Family');
  });

  it('hold any moment', () => {
    expect(words.clock(Number.MAX_SAFE_INTEGER)).toBe('--:--');
    expect(words.iso(Number.MAX_SAFE_INTEGER)).toBeUndefined();
    expect(words.day(0, 86_400_000 * 1.5)).toMatch(/.+/);
  });
});
