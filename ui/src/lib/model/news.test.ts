import { describe, expect, it } from 'vitest';
import type { OfferId, OfferView, PeerId, ReceiverView, RoomId } from '../api/generated/api';
import { News } from './news';

const nobody = { here: false, there: false };
const offer = (more: Partial<OfferView> = {}): OfferView =>
  ({
    room: 'home' as RoomId,
    from: 'ada' as PeerId,
    offer: 'o' as OfferId,
    mine: false,
    name: 'a\u202eb.zip',
    phase: 'fetching',
    paused: nobody,
    receivers: [],
    ...more,
  }) as Partial<OfferView> as OfferView;
const bob = (more: Partial<ReceiverView>): ReceiverView =>
  ({
    peer: 'bob' as PeerId,
    name: 'Bob',
    phase: 'serving',
    paused: nobody,
    ...more,
  }) as Partial<ReceiverView> as ReceiverView;

function listen() {
  const news = new News();
  return { news, hear: (o: OfferView) => news.take(o, () => 'Ada') };
}

describe('news of transfers', () => {
  it('are told once, with a name that hides nothing', () => {
    const { hear } = listen();
    expect(hear(offer({ phase: 'offered' }))).toBe('a‹U+202E›b.zip: Ada offers it');
    expect(hear(offer())).toBeNull();
    expect(hear(offer({ done: 5 }))).toBeNull();
    const paused = offer({ phase: 'paused', paused: { here: false, there: true } });
    expect(hear(paused)).toMatch(/: Ada paused it$/);
    expect(hear(paused)).toBeNull();
    expect(hear(offer({ phase: 'paused', paused: { here: true, there: true } }))).toMatch(
      /You and/,
    );
    expect(hear(offer({ phase: 'blocked', why: 'disk-full' }))).toContain('disk is full');
    expect(hear(offer({ phase: 'done' }))).toContain('Received and checked');
  });

  it('are not told of what was so before', () => {
    const { news, hear } = listen();
    const done = offer({ phase: 'done' });
    news.hydrate([done]);
    expect(hear(done)).toBeNull();
  });

  it('tell who of our receivers did what', () => {
    const { hear } = listen();
    const mine = (r: Partial<ReceiverView>) =>
      hear(offer({ mine: true, phase: 'seen', receivers: [bob(r)] }));
    expect(mine({ phase: 'offered' })).toBeNull();
    expect(mine({ phase: 'serving' })).toBeNull();
    expect(mine({ phase: 'paused', paused: { here: false, there: true } })).toMatch(/: Bob paused/);
    expect(mine({ phase: 'blocked', why: 'disk-full' })).toMatch(/: Bob: Their disk is full/);
    expect(mine({ phase: 'done' })).toMatch(/: Bob: Has everything$/);
  });
});
