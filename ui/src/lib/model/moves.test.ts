import { describe, expect, it } from 'vitest';
import type { LinkPhase, PeerId, PersonView, Presence, RoomId } from '../api/generated/api';
import { Moves } from './moves';

const ROOM = 'room' as RoomId;
const ada = (link: LinkPhase, presence: Presence): PersonView => ({
  room: ROOM,
  peer: 'ada' as PeerId,
  name: 'Ada',
  link,
  presence,
  inviter: false,
});

describe('people', () => {
  it('come and go once', () => {
    const moves = new Moves();
    const step = (link: LinkPhase, presence: Presence) => moves.take(ada(link, presence), 0)?.here;
    expect(step('signaling', 'online')).toBeUndefined();
    expect(step('connected', 'online')).toBe(true);
    expect(step('connected', 'silent')).toBeUndefined();
    expect(step('reconnecting', 'silent')).toBeUndefined();
    expect(step('connected', 'offline')).toBeUndefined();
    expect(step('disconnected', 'offline')).toBe(false);
    expect(step('failed', 'offline')).toBeUndefined();
    expect(moves.of(ROOM).map((m) => m.here)).toEqual([true, false]);
  });

  it('who were there already are not announced', () => {
    const moves = new Moves();
    moves.hydrate([ada('connected', 'online')]);
    expect(moves.take(ada('connected', 'away'), 0)).toBeNull();
    expect(moves.of(ROOM)).toEqual([]);
  });

  it('are kept in bounded number and go with the room', () => {
    const moves = new Moves();
    for (let i = 0; i < 2000; i++) {
      moves.take(i % 2 ? ada('disconnected', 'offline') : ada('connected', 'online'), i);
    }
    expect(moves.of(ROOM)).toHaveLength(500);
    moves.forget(ROOM);
    expect(moves.of(ROOM)).toEqual([]);
  });
});
