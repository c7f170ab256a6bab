/** The window's state: what the engine says, and what this user looks at. */

import type {
  LeftoverFolder,
  MessageView,
  OfferRef,
  OfferView,
  PeerId,
  PersonView,
  Push,
  RoomId,
  RoomView,
  Settings,
  Snapshot,
  TransferSettings,
} from '../api/generated/api';
import { type CommandName, type Host, Refusal } from '../api/host';
import type { Commands, Drag } from '../api/generated/api';
import { Client } from './client';
import * as inert from './inert';
import { type Move, Moves } from './moves';
import { News } from './news';
import { Rates } from './rate';
import { Timeline, offerKey } from './timeline';
import { placed, receiverKey, ref, speeds, toPause, toResume } from './transfers';
import * as words from './words';

/** Messages in a page of history. */
const PAGE = 200;
/** Notices on screen at most. */
const MOST_NOTICES = 4;

/** Something to tell once. */
export interface Notice {
  id: number;
  text: string;
  tone: 'bad' | 'info';
}

/** What stands above the room. */
export type Dialog =
  | { kind: 'new-room' }
  | { kind: 'join'; invite: string }
  | { kind: 'invite'; room: RoomId }
  | { kind: 'room'; room: RoomId }
  | { kind: 'settings' }
  | { kind: 'transfers' }
  | { kind: 'leftovers' }
  | { kind: 'limit'; offer: OfferRef }
  | { kind: 'shortcuts' };

/** What is beside the rooms: one of them, or the transfers of all. */
export type Page = 'room' | 'transfers';

/** How the window stands with the engine. */
export type Phase = { is: 'starting' } | { is: 'failed'; why: string } | { is: 'ready' };

/** Milliseconds since 1970; replaced in tests. */
export type Clock = () => number;

/** All of it. */
export class App {
  phase = $state.raw<Phase>({ is: 'starting' });
  snapshot = $state.raw<Snapshot | null>(null);
  settings = $state.raw<Settings | null>(null);
  current = $state.raw<RoomId | null>(null);
  page = $state.raw<Page>('room');
  dialog = $state.raw<Dialog | null>(null);
  /** Where unfinished files lie that belong to no transfer, when it was looked last. */
  leftovers = $state.raw<readonly LeftoverFolder[]>([]);
  notices = $state.raw<readonly Notice[]>([]);
  /** For screen readers: what was said last. */
  announcement = $state.raw('');
  /** An invite that the app was opened with, until it is used. */
  opened = $state.raw('');
  drag = $state.raw<Drag>({ at: 'left' });
  /** Messages that came while their room was not looked at. */
  unread = $state.raw<ReadonlyMap<RoomId, number>>(new Map());
  /** Rises when lines of some timeline changed. */
  tick = $state.raw(0);

  readonly rates = new Rates();
  readonly moves = new Moves();
  readonly #news = new News();
  readonly #timelines = new Map<RoomId, Timeline>();
  readonly #paging = new Set<RoomId>();
  readonly #host: Host;
  readonly #client: Client;
  readonly #now: Clock;
  #notice = 0;

  constructor(host: Host, now: Clock = Date.now) {
    this.#host = host;
    this.#now = now;
    this.#client = new Client(host, {
      hydrated: (snapshot) => this.#hydrated(snapshot),
      state: (snapshot, changes) => {
        this.#see(snapshot);
        for (const change of changes?.changes ?? []) {
          if (change.type === 'person') this.#person(change);
          else if (change.type === 'offer') this.#offer(change);
          else if (change.type === 'room-gone') this.#forget(change.room);
        }
      },
      message: (message) => this.#message(message),
      push: (push) => this.#push(push),
      failed: (why) => (this.phase = { is: 'failed', why: inert.message(why.message) }),
    });
  }

  /** Begins. */
  async start(): Promise<void> {
    this.settings = await this.#ask('settings', {});
    await this.#client.start();
    if (this.snapshot) this.phase = { is: 'ready' };
  }

  // ------------------------------------------------------------------ what is there

  get rooms(): readonly RoomView[] {
    return this.snapshot?.rooms ?? [];
  }

  /** The room that is looked at. */
  get room(): RoomView | null {
    return this.rooms.find((r) => r.room === this.current) ?? null;
  }

  peopleOf(room: RoomId): readonly PersonView[] {
    const people = this.snapshot?.people.filter((p) => p.room === room) ?? [];
    return people.sort((a, b) => rank(a) - rank(b) || NAMES.compare(a.name, b.name));
  }

  offersOf(room: RoomId): readonly OfferView[] {
    return this.snapshot?.offers.filter((o) => o.room === room) ?? [];
  }

  /** Offers in all rooms. */
  get offers(): readonly OfferView[] {
    return this.snapshot?.offers ?? [];
  }

  /** The offer of this name, while there is one. */
  offerOf({ room, from, offer }: OfferRef): OfferView | undefined {
    return this.offers.find((o) => o.room === room && o.from === from && o.offer === offer);
  }

  /** Bytes a second of all transfers, each way. */
  speeds(): { down: number; up: number } {
    return speeds(this.offers, this.rates);
  }

  /** Everybody in any room once, and whose files are taken without asking. */
  everybody(): { peer: PeerId; name: string }[] {
    const names = new Map<PeerId, string>();
    for (const p of this.snapshot?.people ?? []) names.set(p.peer, inert.name(p.name));
    for (const peer of this.snapshot?.transfers.accept.from ?? []) {
      if (!names.has(peer)) names.set(peer, `Somebody who is in no room now (${peer.slice(0, 6)})`);
    }
    const all = [...names].map(([peer, name]) => ({ peer, name }));
    return all.sort((a, b) => NAMES.compare(a.name, b.name));
  }

  titleOf(room: RoomView): string {
    return words.roomTitle(room, this.peopleOf(room.room), this.settings);
  }

  movesOf(room: RoomId): readonly Move[] {
    return this.moves.of(room);
  }

  /** The name of somebody in a room. */
  nameOf(room: RoomId, peer: PeerId): string {
    const met = this.snapshot?.people.filter((p) => p.peer === peer) ?? [];
    // What somebody offers may be here before they are: another room may know them.
    const person = met.find((p) => p.room === room) ?? met[0];
    return inert.name(person?.name ?? 'Somebody');
  }

  /** Messages that are loaded. Read {@link tick} to hear when they change. */
  timelineOf(room: RoomId): Timeline {
    let timeline = this.#timelines.get(room);
    if (!timeline) this.#timelines.set(room, (timeline = new Timeline()));
    return timeline;
  }

  // ------------------------------------------------------------------ looking around

  /** Looks at a room. */
  look(room: RoomId | null): void {
    this.current = room;
    this.page = 'room';
    if (!room) return;
    this.unread = without(this.unread, room);
    if (!this.timelineOf(room).loaded) void this.#load(room);
  }

  /** Looks at the room before or after this one. */
  lookNext(step: 1 | -1): void {
    const rooms = this.rooms;
    if (rooms.length === 0) return;
    const at = rooms.findIndex((r) => r.room === this.current);
    const next = rooms[(at + step + rooms.length) % rooms.length];
    if (next) this.look(next.room);
  }

  /** Reads the page of messages before those that are loaded; how many came. */
  async older(room: RoomId): Promise<number> {
    const timeline = this.timelineOf(room);
    if (!timeline.before || this.#paging.has(room)) return 0;
    this.#paging.add(room);
    try {
      const before = timeline.messages.length;
      const page = await this.#ask('history', { room, before: timeline.before, max: PAGE });
      if (!page) return 0;
      timeline.older(page);
      this.tick++;
      return timeline.messages.length - before;
    } finally {
      this.#paging.delete(room);
    }
  }

  // ------------------------------------------------------------------ doing things

  /** Makes a room: on a server, or on this network without one. */
  async create(server: string | null): Promise<boolean> {
    const made =
      server === null
        ? await this.#ask('host_room', {})
        : await this.#ask('create_room', { server: server.trim() });
    if (!made) return false;
    this.look(made.room);
    this.dialog = { kind: 'invite', room: made.room };
    return true;
  }

  /** Enters the room of an invite. */
  async join(invite: string): Promise<boolean> {
    const joined = await this.#ask('join_room', { invite: invite.trim() });
    if (!joined) return false;
    this.opened = '';
    this.dialog = null;
    this.look(joined.room);
    return true;
  }

  /** Leaves a room; its history stays on this computer. */
  async leave(room: RoomId): Promise<void> {
    if (await this.#ask('leave_room', { room })) this.dialog = null;
  }

  /** Writes a message; whether it is kept. */
  async send(room: RoomId, text: string): Promise<boolean> {
    return (await this.#ask('send_text', { room, text })) !== null;
  }

  /** Lets the user choose files, or a folder, and offers them. */
  async pickAndOffer(room: RoomId, kind: 'files' | 'folder', to: PeerId[] = []): Promise<void> {
    const picked = await this.#ask(kind === 'files' ? 'pick_files' : 'pick_folder', {});
    if (picked && picked.paths.length > 0) await this.offer(room, picked.paths, to);
  }

  /** Offers files to everybody in the room, or to some. */
  async offer(room: RoomId, paths: string[], to: PeerId[] = []): Promise<void> {
    const offered = await this.#ask('offer', { room, paths, to, note: null });
    for (const text of offered?.skipped.slice(0, MOST_NOTICES) ?? []) {
      this.tell(inert.message(text), 'info');
    }
  }

  /** Fetches an offer into the download folder. */
  async accept(offer: OfferView): Promise<void> {
    await this.#accept(offer, offer.dir ?? this.settings?.downloads ?? '');
  }

  /** Fetches an offer into a folder that the user chooses. */
  async saveAs(offer: OfferView): Promise<void> {
    const picked = await this.#ask('pick_folder', {});
    const dir = picked?.paths[0];
    if (dir !== undefined) await this.#accept(offer, dir);
  }

  /** Refuses an offer, or ends its fetch. */
  async decline(offer: OfferView): Promise<void> {
    await this.#ask('decline', ref(offer));
  }

  /** Takes back one of our own. */
  async withdraw(offer: OfferView): Promise<void> {
    await this.#ask('withdraw', { room: offer.room, offer: offer.offer });
  }

  /** Holds a transfer back; of one of our own, for one receiver or for all. */
  async pause(offer: OfferView, peer: PeerId | null = null): Promise<void> {
    await this.#ask('pause', { ...ref(offer), peer });
  }

  /** Lets it go on, as far as it is held back here. */
  async resume(offer: OfferView, peer: PeerId | null = null): Promise<void> {
    await this.#ask('resume', { ...ref(offer), peer });
  }

  async pauseAll(): Promise<void> {
    for (const offer of toPause(this.offers)) await this.pause(offer);
  }

  async resumeAll(): Promise<void> {
    for (const offer of toResume(this.offers)) await this.resume(offer);
  }

  /** Moves one of the queue to another place, counted from 0. */
  async place(queue: readonly OfferView[], moved: OfferView, to: number): Promise<void> {
    const before = placed(queue, moved, to);
    if (before === undefined) return;
    if (!(await this.#ask('reorder', { ...ref(moved), before }))) return;
    const place = Math.max(0, Math.min(to, queue.length - 1)) + 1;
    this.#announce(`${inert.name(moved.name)}: place ${place} of ${queue.length}`);
  }

  /** Sets the most bytes a second that a transfer may use; whether it is kept. */
  async limit(offer: OfferView, most: number | null): Promise<boolean> {
    return (await this.#ask('limit', { ...ref(offer), bytes_per_s: most })) !== null;
  }

  /** Keeps some of what holds for all transfers. */
  async keepTransfers(some: Partial<TransferSettings>): Promise<void> {
    const now = this.snapshot?.transfers;
    if (now) await this.#ask('set_transfers', { ...now, ...some });
  }

  /** Shows what holds for all transfers, and looks for what earlier ones left. */
  async openTransferSettings(): Promise<void> {
    this.dialog = { kind: 'transfers' };
    const found = await this.#ask('leftovers', {});
    if (found) this.leftovers = found.folders;
  }

  /** Removes unfinished files that belong to no transfer. */
  async removeLeftovers(): Promise<void> {
    this.dialog = { kind: 'transfers' };
    const left = await this.#ask('remove_leftovers', {});
    if (!left) return;
    this.leftovers = left.folders;
    if (left.folders.length > 0) {
      const some =
        'Some unfinished files could not be removed. Look at the permissions of their folders.';
      this.tell(some, 'bad');
    }
  }

  /** Lets the user choose where files go that are taken without asking. */
  async pickAcceptFolder(): Promise<void> {
    const picked = await this.#ask('pick_folder', {});
    const [dir, now] = [picked?.paths[0], this.snapshot?.transfers];
    if (dir !== undefined && now) await this.keepTransfers({ accept: { ...now.accept, dir } });
  }

  async open(offer: OfferView): Promise<void> {
    await this.#ask('open', ref(offer));
  }

  async showInFolder(offer: OfferView): Promise<void> {
    await this.#ask('show_in_folder', ref(offer));
  }

  async rename(name: string): Promise<boolean> {
    if (name.trim() === this.snapshot?.me.name) return true;
    return (await this.#ask('rename', { name: name.trim() })) !== null;
  }

  /** Keeps some of the settings. */
  async keep(some: Partial<Settings>): Promise<void> {
    if (!this.settings) return;
    const kept = await this.#ask('set_settings', { ...this.settings, ...some });
    if (kept) this.settings = kept;
  }

  /** Lets the user choose the download folder. */
  async pickDownloads(): Promise<void> {
    const picked = await this.#ask('pick_folder', {});
    const downloads = picked?.paths[0];
    if (downloads !== undefined) await this.keep({ downloads });
  }

  /** Gives a room a name that only this user sees. */
  async nameRoom(room: RoomId, name: string): Promise<void> {
    const { [room]: _, ...others } = this.settings?.room_names ?? {};
    const own = name.trim() ? { [room]: name.trim() } : {};
    await this.keep({ room_names: { ...others, ...own } });
  }

  /** Tells something once. */
  tell(text: string, tone: Notice['tone']): void {
    const notice = { id: ++this.#notice, text, tone };
    this.notices = [...this.notices, notice].slice(-MOST_NOTICES);
  }

  dismiss(id: number): void {
    this.notices = this.notices.filter((n) => n.id !== id);
  }

  // ------------------------------------------------------------------ hearing

  #hydrated(snapshot: Snapshot): void {
    // Messages may have been missed.
    for (const room of this.#timelines.keys()) void this.#load(room);
    this.#see(snapshot);
    this.moves.hydrate(snapshot.people);
    this.#news.hydrate(snapshot.offers);
  }

  #see(snapshot: Snapshot): void {
    this.snapshot = snapshot;
    const now = this.#now();
    for (const offer of snapshot.offers) {
      const key = offerKey(offer);
      this.rates.feed(key, offer.phase === 'fetching', offer.done, now);
      for (const r of offer.receivers) {
        this.rates.feed(receiverKey(offer, r), r.phase === 'serving', r.done, now);
      }
    }
    if (!snapshot.rooms.some((r) => r.room === this.current)) {
      this.look(snapshot.rooms[0]?.room ?? null);
    }
  }

  #person(person: PersonView): void {
    const move = this.moves.take(person, this.#now());
    if (!move) return;
    this.tick++;
    if (person.room === this.current) {
      this.#announce(`${inert.name(move.name)} ${move.here ? 'is here' : 'has left'}`);
    }
  }

  #offer(offer: OfferView): void {
    const news = this.#news.take(offer, (o) => this.nameOf(o.room, o.from));
    if (news) this.#announce(news);
  }

  #message(message: MessageView): void {
    const fresh = this.timelineOf(message.room).take(message);
    this.tick++;
    if (message.author === this.snapshot?.me.peer) return;
    if (message.room === this.current) {
      if (fresh) this.#announce(`${inert.name(message.name)}: ${inert.message(message.text)}`);
    } else {
      this.unread = new Map(this.unread).set(
        message.room,
        (this.unread.get(message.room) ?? 0) + 1,
      );
    }
  }

  #push(push: Exclude<Push, { type: 'changes' }>): void {
    switch (push.type) {
      case 'invite':
        this.opened = push.invite;
        if (this.settings?.welcomed) this.dialog = { kind: 'join', invite: push.invite };
        return;
      case 'drag': {
        const { type: _, ...drag } = push;
        this.drag = drag;
        return;
      }
    }
  }

  #announce(text: string): void {
    this.announcement = text.slice(0, 500);
  }

  #forget(room: RoomId): void {
    this.moves.forget(room);
    this.#timelines.delete(room);
    this.unread = without(this.unread, room);
    // Still looked at: it was left and entered again.
    if (room === this.current) this.look(room);
  }

  // ------------------------------------------------------------------ asking

  async #load(room: RoomId): Promise<void> {
    const timeline = this.timelineOf(room);
    timeline.expect();
    const page = await this.#ask('history', { room, before: null, max: PAGE });
    if (!page) {
      timeline.unexpect();
      return;
    }
    timeline.begin(page);
    this.tick++;
  }

  async #accept(offer: OfferView, dir: string): Promise<void> {
    await this.#ask('accept', { ...ref(offer), dir });
  }

  /** Asks the engine; a refusal is told and gives `null`. */
  async #ask<N extends CommandName>(
    name: N,
    request: Commands[N]['request'],
  ): Promise<Commands[N]['reply'] | null> {
    try {
      return await this.#host.call(name, request);
    } catch (thrown) {
      this.tell(inert.message(Refusal.from(thrown).message), 'bad');
      return null;
    }
  }
}

/** `Person 9` before `Person 10`. */
const NAMES = new Intl.Collator(undefined, { numeric: true });

/** Those who are here stand first. */
function rank(p: PersonView): number {
  if (p.link === 'connected') return 0;
  return p.presence === 'offline' ? 2 : 1;
}

function without<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  if (!map.has(key)) return map;
  const next = new Map(map);
  next.delete(key);
  return next;
}
