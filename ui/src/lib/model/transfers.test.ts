import { describe, expect, it } from 'vitest';
import type {
  FetchPhase,
  OfferAction,
  OfferId,
  OfferView,
  PeerId,
  ReceiverView,
  RoomId,
  ServePhase,
} from '../api/generated/api';
import { Rates } from './rate';
import { offerKey } from './timeline';
import {
  groupOf,
  grouped,
  placed,
  receiverKey,
  speeds,
  sum,
  toPause,
  toResume,
  turn,
} from './transfers';

const offer = (name: string, phase: FetchPhase, more: Partial<OfferView> = {}): OfferView =>
  ({
    room: 'home' as RoomId,
    from: 'ada' as PeerId,
    offer: name as OfferId,
    mine: false,
    name,
    phase,
    at: 0,
    done: 0,
    total: 100,
    receivers: [],
    paused: { here: false, there: false },
    can: [],
    ...more,
  }) as Partial<OfferView> as OfferView;

const own = (phases: ServePhase[], can: OfferAction[] = []): OfferView =>
  offer('own', 'seen', {
    mine: true,
    can,
    receivers: phases.map(
      (phase, i) => ({ peer: `p${i}` as PeerId, phase, done: 10 }) as ReceiverView,
    ),
  });

const names = (offers: readonly OfferView[]) => offers.map((o) => o.name);

describe('the list of transfers', () => {
  it('has what was taken, each in its group, and nothing that waits for a decision', () => {
    const groups: Record<FetchPhase, ReturnType<typeof groupOf>> = {
      seen: null,
      offered: null,
      accepted: 'running',
      queued: 'queued',
      fetching: 'running',
      paused: 'paused',
      blocked: 'held',
      stalled: 'running',
      done: 'finished',
      failed: 'held',
      declined: null,
      withdrawn: null,
    };
    for (const [phase, group] of Object.entries(groups)) {
      expect(groupOf(offer('a', phase as FetchPhase)), phase).toBe(group);
    }
  });

  it('has what we offer by what moves most', () => {
    expect(groupOf(own([]))).toBeNull();
    expect(groupOf(own(['offered', 'declined']))).toBeNull();
    expect(groupOf(own(['offered', 'done']))).toBe('finished');
    expect(groupOf(own(['paused', 'done']))).toBe('paused');
    expect(groupOf(own(['paused', 'blocked']))).toBe('held');
    expect(groupOf(own(['paused', 'blocked', 'serving']))).toBe('running');
    expect(groupOf(offer('own', 'withdrawn', { mine: true }))).toBeNull();
    const paused = { here: true, there: false };
    expect(groupOf({ ...own(['offered']), paused }), 'also for those to come').toBe('paused');
  });

  it('has the queue in its order and the newest of all else first', () => {
    const all = grouped([
      offer('third', 'queued', { queued: 3, at: 9 }),
      offer('old', 'fetching', { at: 1 }),
      offer('first', 'queued', { queued: 1, at: 1 }),
      offer('new', 'fetching', { at: 2 }),
      offer('second', 'queued', { queued: 2, at: 5 }),
    ]);
    expect(names(all.queued)).toEqual(['first', 'second', 'third']);
    expect(names(all.running)).toEqual(['new', 'old']);
  });

  it('adds up what moves, each way', () => {
    const rates = new Rates();
    const [fetch, serve] = [offer('a', 'fetching'), own(['serving', 'serving'])];
    const feed = (key: string, rate: number) => {
      rates.feed(key, true, 0, 0);
      rates.feed(key, true, rate, 1000);
    };
    feed(offerKey(fetch), 500);
    for (const r of serve.receivers) feed(receiverKey(serve, r), 30);
    expect(speeds([fetch, serve, offer('b', 'paused')], rates)).toEqual({ down: 500, up: 60 });
  });
});

describe('the queue', () => {
  const queue = ['a', 'b', 'c', 'd'].map((name, i) => offer(name, 'queued', { queued: i + 1 }));
  const move = (from: number, to: number) => {
    const moved = queue[from];
    return moved && placed(queue, moved, to);
  };

  it('is put in order by what comes after the one that is moved', () => {
    expect(move(2, 0)?.offer).toBe('a');
    expect(move(0, 1)?.offer).toBe('c');
    expect(move(0, 2)?.offer).toBe('d');
    expect(move(3, 2)?.offer).toBe('c');
    expect(move(0, 3)).toBeNull();
    expect(move(1, 99)).toBeNull();
    expect(move(2, -5)?.offer).toBe('a');
  });

  it('stays where nothing is moved', () => {
    expect(move(1, 1)).toBeUndefined();
    expect(move(3, 99)).toBeUndefined();
    expect(placed(queue, offer('z', 'queued'), 0)).toBeUndefined();
  });
});

describe('all together', () => {
  const can: OfferAction[] = ['pause'];

  it('are paused from the end of the queue, so that none begins meanwhile', () => {
    const offers = [
      offer('runs', 'fetching', { can }),
      offer('first', 'queued', { can, queued: 1 }),
      offer('second', 'queued', { can, queued: 2 }),
      offer('done', 'done'),
      own(['done', 'offered'], ['pause', 'limit']),
      offer('paused', 'paused', { can: ['resume'] }),
    ];
    expect(names(toPause(offers))).toEqual(['second', 'first', 'runs']);
    expect(names(toResume(offers))).toEqual(['paused']);
  });

  it('are summed up for those who took it', () => {
    const of = own(['done', 'serving', 'paused', 'offered', 'declined', 'blocked']);
    expect(sum(of)).toEqual({
      have: 1,
      took: 4,
      paused: 1,
      held: 1,
      done: 40,
      total: 400,
      moving: true,
    });
  });

  it('have one button, which stops what moves', () => {
    expect(turn(own(['serving'], ['pause', 'resume']))).toBe('pause');
    expect(turn(own(['paused', 'stalled'], ['pause', 'resume']))).toBe('resume');
    expect(turn(offer('a', 'blocked', { can: ['pause', 'resume'] }))).toBe('resume');
    expect(turn(offer('a', 'fetching', { can }))).toBe('pause');
    expect(turn(offer('a', 'done'))).toBeNull();
    expect(turn(own(['done', 'offered'], can)), 'nothing moves, or would').toBeNull();
  });
});
