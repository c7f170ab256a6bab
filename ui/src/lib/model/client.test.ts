import { describe, expect, it } from 'vitest';
import type { Changes, Me, PeerId, Push, Snapshot } from '../api/generated/api';
import { type CommandName, type Host, Refusal } from '../api/host';
import { Client, type Listener } from './client';

const PEER = 'me' as PeerId;
const named = (name: string): Me => ({ peer: PEER, name });
const at = (rev: number, name: string): Snapshot => ({
  rev,
  me: named(name),
  rooms: [],
  people: [],
  offers: [],
  transfers: {
    at_once: 3,
    up: null,
    down: null,
    accept: { from: [], most: null, kinds: [], dir: '' },
  },
});
const change = (after: number, rev: number, name: string): Push => ({
  type: 'changes',
  after,
  rev,
  changes: [{ type: 'me', ...named(name) }],
});

/** A host whose snapshots are handed out by the test. */
class Hand implements Host {
  say: (push: Push) => void = () => undefined;
  readonly asked: ((snapshot: Snapshot | Refusal) => void)[] = [];

  call<N extends CommandName>(): Promise<never> {
    return new Promise((resolve, reject) => {
      this.asked.push((s) => (s instanceof Refusal ? reject(s) : resolve(s as never)));
    }) as Promise<never> & Promise<N>;
  }

  attach(listen: (push: Push) => void): Promise<void> {
    this.say = listen;
    return Promise.resolve();
  }
}

function setup() {
  const host = new Hand();
  const heard: string[] = [];
  const listener: Listener = {
    state: (s: Snapshot, _: Changes | null) => heard.push(`state ${s.me.name}`),
    message: (m) => heard.push(`message ${m.text}`),
    hydrated: (s) => heard.push(`hydrated ${s.me.name}`),
    push: (p) => heard.push(p.type),
    failed: (e) => heard.push(`failed ${e.code}`),
  };
  const client = new Client(host, listener);
  return { host, heard, client, started: client.start() };
}

/** Lets promises that are settled go on. */
const settle = async () => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};

describe('a client', () => {
  it('keeps what it hears while the snapshot is on its way', async () => {
    const { host, heard, client, started } = setup();
    await settle();
    host.say(change(4, 6, 'Ada'));
    host.say(change(6, 7, 'Mia'));
    host.asked[0]?.(at(5, 'Bob'));
    await started;
    expect(heard).toEqual(['hydrated Bob', 'state Ada', 'state Mia']);
    expect(client.snapshot?.rev).toBe(7);
  });

  it('hydrates again where something is missing, once', async () => {
    const { host, heard, started } = setup();
    await settle();
    host.asked[0]?.(at(5, 'Bob'));
    await started;
    host.say(change(9, 10, 'Ada'));
    host.say(change(10, 11, 'Mia'));
    expect(host.asked).toHaveLength(2);
    host.asked[1]?.(at(10, 'Ada'));
    await settle();
    expect(heard).toEqual(['hydrated Bob', 'hydrated Ada', 'state Ada', 'state Mia']);
  });

  it('reads anew when more came than it keeps', async () => {
    const { host, client, started } = setup();
    await settle();
    for (let rev = 6; rev < 200; rev++) host.say(change(rev - 1, rev, `n${rev}`));
    host.asked[0]?.(at(5, 'Bob'));
    await settle();
    expect(host.asked).toHaveLength(2);
    host.asked[1]?.(at(199, 'n199'));
    await started;
    expect(client.snapshot?.me.name).toBe('n199');
  });

  it('says when the engine does not answer', async () => {
    const { host, heard, started } = setup();
    await settle();
    host.asked[0]?.(new Refusal({ code: 'store-broken', message: 'No.' }));
    await started;
    expect(heard).toEqual(['failed store-broken']);
  });

  it('passes on what is not state at once', async () => {
    const { host, heard } = setup();
    await settle();
    host.say({ type: 'invite', invite: 'kith://x' });
    expect(heard).toEqual(['invite']);
  });
});
