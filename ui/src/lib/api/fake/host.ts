/**
 * A host without an engine: it plays a scene, and answers commands about as the engine would.
 * For development in a browser, screenshots and tests of the window; never part of the app.
 *
 * `?scene=NAME` chooses a scene, `?theme=light|dark` a theme, `?still` stops what moves by itself.
 */

import type {
  Change,
  Commands,
  Cursor,
  History,
  LeftoverFolder,
  MessageView,
  OfferView,
  PeerId,
  Push,
  RoomId,
  Settings,
  Snapshot,
  Theme,
} from '../generated/api';
import { type CommandName, type Host, Refusal } from '../host';
import {
  ADA,
  INVITE,
  ME,
  TRANSFERS,
  file,
  id,
  message,
  moved,
  offer,
  person,
  receiver,
  room,
  settings,
} from './parts';
import { held, reordered, turns } from './queue';
import { SCENES } from './scenes';

/** Milliseconds between two steps of a transfer. */
const STEP = 250;

type Requests = { [N in CommandName]: (request: Commands[N]['request']) => Commands[N]['reply'] };

/** Plays one scene. */
export class FakeHost implements Host {
  readonly #still: boolean;
  readonly #snapshot: Snapshot;
  #settings: Settings;
  #leftovers: LeftoverFolder[];
  #messages: MessageView[];
  #listen: (push: Push) => void = () => undefined;
  readonly #scene;
  #made = 0;

  constructor(query: URLSearchParams) {
    const name = query.get('scene') ?? 'busy';
    const make = SCENES[name] ?? SCENES['busy'];
    if (!make) throw new Error('there is no such scene');
    this.#scene = make(Date.now());
    this.#still = query.has('still');
    this.#snapshot = structuredClone({
      rev: 1,
      ...this.#scene.snapshot,
      transfers: { ...TRANSFERS, ...this.#scene.transfers },
    });
    this.#messages = this.#scene.messages;
    const theme = (query.get('theme') ?? 'system') as Theme;
    this.#leftovers = this.#scene.leftovers ?? [];
    this.#settings = settings(theme, this.#scene.settings);
  }

  call<N extends CommandName>(
    name: N,
    request: Commands[N]['request'],
  ): Promise<Commands[N]['reply']> {
    const refused = this.#scene.refuse?.[name];
    if (this.#scene.broken && name === 'snapshot') {
      const text = 'Another Kith uses this profile. Close it and start Kith again.';
      return Promise.reject(new Refusal({ code: 'home-in-use', message: text }));
    }
    if (refused) return Promise.reject(new Refusal({ code: 'bad-request', message: refused }));
    // As over a real boundary: what the caller holds is never ours.
    return Promise.resolve(structuredClone(this.#answers[name](request)));
  }

  attach(listen: (push: Push) => void): Promise<void> {
    this.#listen = listen;
    const { invite, dragging } = this.#scene;
    if (invite) listen({ type: 'invite', invite });
    if (dragging) listen({ type: 'drag', at: 'over', ...dragging });
    // So that tests can drop files, which a plain browser gives without paths.
    window.addEventListener('fake-push', (event) => {
      this.#listen((event as CustomEvent<Push>).detail);
    });
    if (!this.#still) {
      setInterval(() => this.#step(), STEP);
      // So that a rate is known.
      this.#step();
    }
    return Promise.resolve();
  }

  readonly #answers: Requests = {
    snapshot: () => this.#snapshot,
    settings: () => this.#settings,
    set_settings: (kept) => (this.#settings = kept),
    create_room: ({ server }) => this.#create(server),
    host_room: () => this.#create('192.168.1.20:7400'),
    join_room: ({ invite }) => {
      if (!invite.includes('#v1.')) {
        const text = 'this is not a Kith invite: it should look like kith://server/j#v1.…';
        throw new Refusal({ code: 'bad-request', message: text });
      }
      return { room: this.#create('rooms.example.org', true).room };
    },
    leave_room: ({ room }) => {
      this.#change({ type: 'room-gone', room });
      return {};
    },
    send_text: ({ room, text }) => {
      const sent = message(room, ME, this.#snapshot.me.name, Date.now(), text);
      this.#say(sent);
      const here = this.#snapshot.people.filter((p) => p.room === room && p.link === 'connected');
      const delivered = here.map((p) => p.peer);
      if (delivered.length) setTimeout(() => this.#say({ ...sent, delivered }), STEP);
      return { seq: sent.seq };
    },
    offer: ({ room, to, paths, note }) => {
      const names = paths.map((p) => p.split('/').at(-1) ?? p);
      const files = names.map((n, i) => file(n, (i + 3) * 1_700_000));
      const name = names.length > 1 ? `${names[0]} and ${names.length - 1} more` : (names[0] ?? '');
      const people = this.#snapshot.people.filter(
        (p) => p.room === room && p.link === 'connected' && (!to.length || to.includes(p.peer)),
      );
      const made = offer(room, ME, name, files, {
        at: Date.now(),
        note: note ?? undefined,
        receivers: people.map((p) => receiver(p.peer, p.name, 'offered')),
      });
      this.#change({ type: 'offer', ...made });
      return { offer: made.offer, skipped: [] };
    },
    accept: ({ from, offer, dir }) => {
      const old = this.#find(from, offer);
      this.#put(moved(old, 'queued', { dir, why: undefined }));
      return {};
    },
    pause: ({ from, offer, peer }) => {
      this.#put(held(this.#find(from, offer), true, peer ?? null));
      return {};
    },
    resume: ({ from, offer, peer }) => {
      this.#put(held(this.#find(from, offer), false, peer ?? null));
      return {};
    },
    reorder: ({ from, offer, before }) => {
      const one = this.#find(from, offer);
      for (const o of reordered(this.#snapshot.offers, one, before ?? null)) {
        this.#change({ type: 'offer', ...o });
      }
      return {};
    },
    limit: ({ from, offer, bytes_per_s }) => {
      const old = this.#find(from, offer);
      this.#put({ ...old, cap: bytes_per_s ?? undefined });
      return {};
    },
    set_transfers: (kept) => {
      this.#change({ type: 'transfers', ...kept });
      this.#turns();
      return kept;
    },
    decline: ({ from, offer }) => {
      const old = this.#find(from, offer);
      this.#put(moved(old, 'declined', { done: 0 }));
      return {};
    },
    withdraw: ({ offer }) => {
      this.#change({ type: 'offer', ...this.#find(ME, offer), phase: 'withdrawn', can: [] });
      return {};
    },
    history: ({ room, before, max }) => this.#history(room, before ?? null, max),
    rename: ({ name }) => {
      const me = { peer: ME, name };
      this.#change({ type: 'me', ...me });
      return me;
    },
    pick_files: () => ({ paths: ['/home/sam/Pictures/garden.jpg', '/home/sam/notes.txt'] }),
    pick_folder: () => ({ paths: ['/home/sam/Documents'] }),
    open: () => ({}),
    show_in_folder: () => ({}),
    leftovers: () => ({ folders: this.#leftovers }),
    remove_leftovers: () => ({ folders: (this.#leftovers = []) }),
  };

  #create(server: string, peopled = false) {
    const made = id<RoomId>(`made${++this.#made}`);
    this.#change({ type: 'room', ...room(made, { server, invite: INVITE }) });
    if (peopled) this.#change({ type: 'person', ...person(made, ADA, 'Ada', { inviter: true }) });
    return { room: made, invite: INVITE };
  }

  /** An offer changed; others may have a turn for that. */
  #put(offer: OfferView): void {
    this.#change({ type: 'offer', ...offer });
    this.#turns();
  }

  #turns(): void {
    for (const o of turns(this.#snapshot.offers, this.#snapshot.transfers.at_once)) {
      this.#change({ type: 'offer', ...o });
    }
  }

  #find(from: PeerId, offer: string): OfferView {
    const found = this.#snapshot.offers.find((o) => o.from === from && o.offer === offer);
    if (!found) throw new Refusal({ code: 'not-now', message: 'That is not possible right now.' });
    return found;
  }

  #history(room: RoomId, before: Cursor | null, max: number): History {
    const all = this.#messages.filter(
      (m) => m.room === room && (!before || m.stored < before.stored),
    );
    const page = all.slice(-max);
    const oldest = page[0];
    const more = all.length > page.length && oldest;
    return {
      messages: page,
      before: more ? { stored: oldest.stored, author: oldest.author, seq: oldest.seq } : null,
    };
  }

  #say(message: MessageView): void {
    this.#messages = [...this.#messages.filter((m) => m.id !== message.id), message];
    this.#change({ type: 'message', ...message });
  }

  /** Transfers come a step further. */
  #step(): void {
    for (const o of this.#snapshot.offers) {
      const most = ((o.cap ?? Infinity) * STEP) / 1000;
      if (o.phase === 'fetching') {
        const done = Math.min(o.total, o.done + Math.min(most, Math.max(o.total / 400, 50_000)));
        const next = { ...o, done };
        const ended = { dir: o.dir, path: `${o.dir}/${o.name}` };
        this.#put(done < o.total ? next : moved(next, 'done', ended));
      }
      if (o.receivers.some((r) => r.phase === 'serving')) {
        const receivers = o.receivers.map((r) => {
          if (r.phase !== 'serving') return r;
          const done = Math.min(o.total, r.done + Math.min(most, o.total / 500));
          return done < o.total ? { ...r, done } : receiver(r.peer, r.name, 'done', done);
        });
        this.#change({ type: 'offer', ...moved({ ...o, receivers }, o.phase) });
      }
    }
  }

  #change(change: Change): void {
    const { type, ...entity } = change;
    const s = this.#snapshot;
    const same = (a: object, ...keys: string[]) =>
      keys.every(
        (k) => (a as Record<string, unknown>)[k] === (entity as Record<string, unknown>)[k],
      );
    const put = <T extends object>(list: T[], ...keys: string[]) => {
      const at = list.findIndex((x) => same(x, ...keys));
      if (at < 0) list.push(entity as T);
      else list[at] = entity as T;
    };
    if (type === 'me') s.me = change;
    if (type === 'room') put(s.rooms, 'room');
    if (type === 'person') put(s.people, 'room', 'peer');
    if (type === 'offer') put(s.offers, 'room', 'from', 'offer');
    if (type === 'transfers') s.transfers = entity as typeof s.transfers;
    if (type === 'room-gone') s.rooms = s.rooms.filter((r) => r.room !== change.room);
    const after = s.rev++;
    this.#listen(structuredClone({ type: 'changes', after, rev: s.rev, changes: [change] }));
  }
}
