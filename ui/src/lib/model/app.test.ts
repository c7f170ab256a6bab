import { beforeEach, describe, expect, it } from 'vitest';
import type {
  Changes,
  Commands,
  History,
  LeftoverFolder,
  MessageView,
  MsgId,
  OfferId,
  OfferView,
  PeerId,
  PersonView,
  Push,
  RoomId,
  RoomView,
  Snapshot,
} from '../api/generated/api';
import { type CommandName, type Host, Refusal } from '../api/host';
import { App } from './app.svelte';
import { offerKey } from './timeline';

const [HOME, WORK] = ['home' as RoomId, 'work' as RoomId];
const [ME, ADA] = ['me' as PeerId, 'ada' as PeerId];

const room = (room: RoomId): RoomView => ({
  room,
  invite: 'kith://x',
  server: 'x',
  session: 'joined',
});
const ada = (more: Partial<PersonView> = {}): PersonView => ({
  room: HOME,
  peer: ADA,
  name: 'Ada',
  presence: 'online',
  link: 'connected',
  inviter: false,
  ...more,
});
const message = (room: RoomId, seq: number, text = 'hi'): MessageView => ({
  room,
  author: ADA,
  name: 'Ada',
  seq,
  id: `m${seq}` as MsgId,
  at: seq,
  stored: seq,
  text,
  delivered: [],
});
const offer = (more: Partial<OfferView> = {}): OfferView =>
  ({
    room: HOME,
    from: ADA,
    offer: 'o' as OfferId,
    name: 'a.zip',
    total: 10_000,
    done: 0,
    phase: 'fetching',
    receivers: [],
    paused: { here: false, there: false },
    can: [],
    ...more,
  }) as OfferView;

/** Answers from a table, and keeps what was asked. */
class Table implements Host {
  say: (push: Push) => void = () => undefined;
  readonly asked: [string, unknown][] = [];
  readonly refuse = new Set<string>();
  pages: History[] = [];
  leftovers: LeftoverFolder[] = [];
  stuck: LeftoverFolder[] = [];
  snapshot: Snapshot = {
    rev: 1,
    me: { peer: ME, name: 'Me' },
    rooms: [room(HOME), room(WORK)],
    people: [ada()],
    offers: [],
    transfers: {
      at_once: 3,
      up: null,
      down: null,
      accept: { from: [], most: null, kinds: [], dir: '' },
    },
  };

  call<N extends CommandName>(name: N, request: Commands[N]['request']) {
    this.asked.push([name, request]);
    if (this.refuse.has(name)) {
      return Promise.reject(new Refusal({ code: 'not-now', message: 'No\u202e.' }));
    }
    const settings = { welcomed: true, theme: 'system', downloads: '/d', room_names: {} };
    const replies: Partial<Record<CommandName, unknown>> = {
      snapshot: this.snapshot,
      settings,
      set_settings: request,
      pick_folder: { paths: ['/elsewhere'] },
      pick_files: { paths: [] },
      offer: { offer: 'o', skipped: ['x is left out'] },
      host_room: { room: WORK, invite: 'kith://y' },
      leftovers: { folders: this.leftovers },
      remove_leftovers: { folders: this.stuck },
    };
    if (name === 'history') replies.history = this.pages.shift() ?? { messages: [], before: null };
    return Promise.resolve(structuredClone(replies[name] ?? {}) as Commands[N]['reply']);
  }

  attach(listen: (push: Push) => void) {
    this.say = listen;
    return Promise.resolve();
  }

  change(...changes: Changes['changes']) {
    const after = this.snapshot.rev++;
    this.say({ type: 'changes', after, rev: this.snapshot.rev, changes });
  }
}

/** Lets promises that are settled go on. */
const settle = async () => {
  for (let i = 0; i < 100; i++) await Promise.resolve();
};

let host: Table;
let app: App;
let now = 0;
beforeEach(async () => {
  host = new Table();
  app = new App(host, () => now);
  await app.start();
  await settle();
});

describe('unfinished files that belong to no transfer', () => {
  it('are looked for with the settings, and removed when the user says so', async () => {
    host.leftovers = [{ dir: '/d', files: 2, bytes: 3_000_000 }];
    await app.openTransferSettings();
    expect(app.dialog).toEqual({ kind: 'transfers' });
    expect(app.leftovers).toEqual(host.leftovers);
    expect(host.asked.some(([name]) => name === 'remove_leftovers')).toBe(false);
    app.dialog = { kind: 'leftovers' };
    await app.removeLeftovers();
    expect(app.dialog).toEqual({ kind: 'transfers' });
    expect(app.leftovers).toEqual([]);
    expect(app.notices).toEqual([]);
  });

  it('are still shown when they could not be removed, and it is said', async () => {
    host.stuck = [{ dir: '/d', files: 1, bytes: 10 }];
    await app.removeLeftovers();
    expect(app.leftovers).toEqual(host.stuck);
    expect(app.notices.map((n) => n.tone)).toEqual(['bad']);
    host.refuse.add('leftovers');
    await app.openTransferSettings();
    expect(app.leftovers).toEqual(host.stuck);
  });
});

describe('the window', () => {
  it('looks at the first room when it starts, and elsewhere when that is gone', () => {
    expect(app.phase.is).toBe('ready');
    expect(host.asked.map(([n]) => n)).toEqual(['settings', 'snapshot', 'history']);
    expect(app.current).toBe(HOME);
    host.change({ type: 'room-gone', room: HOME });
    expect(app.current).toBe(WORK);
    expect(app.peopleOf(HOME)).toEqual([]);
  });

  it('shows what was said in a room that is left and entered again at once', async () => {
    host.pages = [{ messages: [message(HOME, 1)], before: null }];
    const again = { type: 'room' as const, ...room(HOME) };
    host.change({ type: 'room-gone', room: HOME }, again);
    await settle();
    expect(app.current).toBe(HOME);
    expect(app.timelineOf(HOME).messages.map((m) => m.seq)).toEqual([1]);
  });

  it('counts what is unread elsewhere until one looks there', () => {
    host.change({ type: 'message', ...message(HOME, 1) }, { type: 'message', ...message(WORK, 1) });
    host.change({ type: 'message', ...message(WORK, 2) });
    expect([...app.unread]).toEqual([[WORK, 2]]);
    app.look(WORK);
    expect(app.unread.size).toBe(0);
  });

  it('announces what is said here, made inert, and not what is said by us', () => {
    host.change({ type: 'message', ...message(HOME, 1, 'a\u202eb') });
    expect(app.announcement).toBe('Ada: a‹U+202E›b');
    host.change({ type: 'message', ...message(HOME, 1, 'mine'), author: ME });
    expect(app.announcement).toBe('Ada: a‹U+202E›b');
  });

  it('notes who comes and goes, but not who was there', () => {
    expect(app.movesOf(HOME)).toEqual([]);
    host.change({ type: 'person', ...ada({ link: 'disconnected', presence: 'offline' }) });
    expect(app.movesOf(HOME).map((m) => m.here)).toEqual([false]);
  });

  it('reads the newest messages again after a gap', async () => {
    host.pages = [{ messages: [message(HOME, 1), message(HOME, 2)], before: null }];
    host.snapshot.rev = 50;
    host.change({ type: 'room', ...room(HOME) });
    await settle();
    expect(app.timelineOf(HOME).messages.map((m) => m.seq)).toEqual([1, 2]);
  });

  it('knows the rate of a fetch while it runs', () => {
    const at = (ms: number, more: Partial<OfferView>) => {
      now = ms;
      host.change({ type: 'offer', ...offer(more) });
    };
    at(0, { done: 0 });
    at(1000, { done: 2000 });
    expect(app.rates.of(offerKey(offer()))?.rate()).toBe(2000);
    at(2000, { done: 2000, phase: 'stalled' });
    expect(app.rates.of(offerKey(offer()))).toBeUndefined();
  });

  it('holds back and lets go one receiver, or all', async () => {
    await app.pause(offer());
    await app.resume(offer({ from: ME, mine: true }), ADA);
    const which = { room: HOME, offer: 'o' };
    expect(host.asked.slice(-2)).toEqual([
      ['pause', { ...which, from: ADA, peer: null }],
      ['resume', { ...which, from: ME, peer: ADA }],
    ]);
  });

  it('holds all back in an order in which none begins meanwhile', async () => {
    const waiting = (name: string, queued: number) =>
      offer({ offer: name as OfferId, phase: 'queued', queued, can: ['pause'] });
    const all = [offer({ can: ['pause'] }), waiting('p', 1), waiting('q', 2)];
    host.change(...all.map((o) => ({ type: 'offer' as const, ...o })));
    await app.pauseAll();
    const paused = host.asked.flatMap(([n, r]) =>
      n === 'pause' ? [(r as { offer: string }).offer] : [],
    );
    expect(paused).toEqual(['q', 'p', 'o']);
  });

  it('puts the queue in order, says the place, and asks for nothing that changes nothing', async () => {
    const queue = ['p', 'q'].map((name, i) =>
      offer({ offer: name as OfferId, name, phase: 'queued', queued: i + 1 }),
    );
    const [first] = queue;
    if (!first) throw new Error('it was made');
    await app.place(queue, first, 0);
    expect(host.asked.map(([n]) => n)).not.toContain('reorder');
    await app.place(queue, first, 1);
    expect(host.asked.at(-1)).toEqual([
      'reorder',
      { room: HOME, from: ADA, offer: 'p', before: null },
    ]);
    expect(app.announcement).toBe('p: place 2 of 2');
    host.refuse.add('reorder');
    app.announcement = '';
    await app.place(queue, first, 1);
    expect(app.announcement, 'a refusal has a notice of its own').toBe('');
  });

  it('limits one transfer, and keeps what holds for all', async () => {
    expect(await app.limit(offer(), 5e6)).toBe(true);
    expect(host.asked.at(-1)?.[1]).toMatchObject({ offer: 'o', bytes_per_s: 5e6 });
    await app.keepTransfers({ at_once: 5 });
    expect(host.asked.at(-1)).toEqual([
      'set_transfers',
      { ...host.snapshot.transfers, at_once: 5 },
    ]);
    await app.pickAcceptFolder();
    expect(host.asked.at(-1)?.[1]).toMatchObject({ accept: { dir: '/elsewhere' } });
  });

  it('lists for a choice everybody once, and who was chosen though gone', () => {
    const { transfers } = host.snapshot;
    const accept = { ...transfers.accept, from: ['gone' as PeerId, ADA] };
    host.change(
      { type: 'person', ...ada({ room: WORK }) },
      { type: 'transfers', ...transfers, accept },
    );
    expect(app.everybody().map((p) => p.name)).toEqual([
      'Ada',
      'Somebody who is in no room now (gone)',
    ]);
  });

  it('announces what becomes of a transfer, also in rooms that are not looked at', () => {
    host.change({ type: 'offer', ...offer({ room: WORK, phase: 'done' }) });
    expect(app.announcement).toBe('a.zip: Received and checked');
  });

  it('goes back to the room from the transfers when a room is chosen', () => {
    app.page = 'transfers';
    app.look(WORK);
    expect([app.page, app.current]).toEqual(['room', WORK]);
  });

  it('tells a refusal once, made inert, and keeps what was', async () => {
    host.refuse.add('send_text');
    expect(await app.send(HOME, 'hello')).toBe(false);
    expect(app.notices.map((n) => n.text)).toEqual(['No‹U+202E›.']);
    app.dismiss(app.notices[0]?.id ?? 0);
    expect(app.notices).toEqual([]);
  });

  it('shows only the last few notices', async () => {
    host.refuse.add('send_text');
    for (let i = 0; i < 20; i++) await app.send(HOME, 'hello');
    expect(app.notices).toHaveLength(4);
  });

  it('saves where it was before, where the settings say, or where one chooses', async () => {
    const dirs = () =>
      host.asked.flatMap(([n, r]) => (n === 'accept' ? [(r as { dir: string }).dir] : []));
    await app.accept(offer());
    await app.accept(offer({ dir: '/before' }));
    await app.saveAs(offer({ dir: '/before' }));
    expect(dirs()).toEqual(['/d', '/before', '/elsewhere']);
  });

  it('offers nothing when nothing was chosen, and says what was left out', async () => {
    await app.pickAndOffer(HOME, 'files');
    expect(host.asked.map(([n]) => n)).not.toContain('offer');
    await app.pickAndOffer(HOME, 'folder', [ADA]);
    expect(host.asked.at(-1)).toEqual([
      'offer',
      { room: HOME, paths: ['/elsewhere'], to: [ADA], note: null },
    ]);
    expect(app.notices[0]?.text).toBe('x is left out');
  });

  it('shows the invite of a room that was made', async () => {
    await app.create(null);
    expect(app.dialog).toEqual({ kind: 'invite', room: WORK });
    expect(app.current).toBe(WORK);
  });

  it('asks before it joins by a link that opened the app', () => {
    host.say({ type: 'invite', invite: 'kith://z' });
    expect(app.dialog).toEqual({ kind: 'join', invite: 'kith://z' });
    expect(host.asked.map(([n]) => n)).not.toContain('join_room');
  });

  it('names rooms for this user alone', async () => {
    await app.nameRoom(HOME, ' Family ');
    expect(app.titleOf(room(HOME))).toBe('Family');
    await app.nameRoom(HOME, '');
    expect(app.titleOf(room(HOME))).toBe('Ada');
  });

  it('says why when the engine does not answer', async () => {
    const broken = new Table();
    broken.refuse.add('snapshot');
    const other = new App(broken);
    await other.start();
    expect(other.phase).toEqual({ is: 'failed', why: 'No‹U+202E›.' });
  });
});
