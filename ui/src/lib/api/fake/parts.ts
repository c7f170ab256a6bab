/** Pieces of made-up rooms. */

import type {
  FileView,
  LeftoverFolder,
  MessageView,
  MsgId,
  OfferAction,
  OfferId,
  OfferView,
  PeerId,
  PersonView,
  ReceiverView,
  RoomId,
  RoomView,
  Settings,
  Snapshot,
  Theme,
  TransferSettings,
} from '../generated/api';

/** An id that looks like one. */
export const id = <T extends string>(text: string) => text.padEnd(22, 'A').slice(0, 22) as T;

export const ME = id<PeerId>('me');
export const ADA = id<PeerId>('ada');
export const BOB = id<PeerId>('bob');
export const MIRA = id<PeerId>('mira');
export const NOOR = id<PeerId>('noor');
export const HOME = id<RoomId>('home');
export const WORK = id<RoomId>('work');
export const TRIP = id<RoomId>('trip');

export const MINUTE = 60_000;

export const INVITE =
  'kith://192.168.1.20:7400/j#v1.3q2-7wAAESIzRFVmd4iZqrvM3e7_ABEiM0RVZneImao.bWVhZGFib2JtaXJhbm9vcg';

export function room(room: RoomId, more: Partial<RoomView> = {}): RoomView {
  return { room, invite: INVITE, server: '192.168.1.20:7400', session: 'joined', ...more };
}

export function person(
  room: RoomId,
  peer: PeerId,
  name: string,
  more: Partial<PersonView> = {},
): PersonView {
  return {
    room,
    peer,
    name,
    presence: 'online',
    link: 'connected',
    route: 'lan',
    inviter: false,
    ...more,
  };
}

export const file = (path: string, size: number, dir = false): FileView => ({ path, size, dir });

const CAN: Record<OfferView['phase'], OfferAction[]> = {
  seen: ['decline'],
  offered: ['accept', 'decline'],
  accepted: ['pause', 'limit', 'cancel'],
  queued: ['pause', 'reorder', 'limit', 'cancel'],
  fetching: ['pause', 'limit', 'cancel'],
  paused: ['limit', 'cancel'],
  blocked: ['accept', 'resume', 'pause', 'limit', 'cancel'],
  stalled: ['pause', 'limit', 'cancel'],
  done: [],
  failed: ['accept', 'decline'],
  declined: ['accept'],
  withdrawn: [],
};

/** Those of our own that can be held back. */
const RUNS: readonly ReceiverView['phase'][] = [
  'queued',
  'serving',
  'paused',
  'blocked',
  'stalled',
];

/** What may be done with an offer as it stands. */
function can(offer: Pick<OfferView, 'mine' | 'phase' | 'paused' | 'receivers'>): OfferAction[] {
  if (!offer.mine) {
    const turn = offer.paused.here ? 'resume' : 'pause';
    return offer.phase === 'paused' ? [turn, ...CAN.paused] : CAN[offer.phase];
  }
  if (offer.phase === 'withdrawn') return [];
  const some = (action: OfferAction) => offer.receivers.some((r) => r.can.includes(action));
  const turns = (['pause', 'resume'] as const).filter(some);
  return offer.receivers.some((r) => RUNS.includes(r.phase))
    ? [...turns, 'limit', 'withdraw']
    : ['withdraw'];
}

export function offer(
  room: RoomId,
  from: PeerId,
  name: string,
  files: FileView[],
  more: Partial<OfferView> = {},
): OfferView {
  const total = files.reduce((sum, f) => sum + f.size, 0);
  const phase = more.phase ?? (from === ME ? 'seen' : 'offered');
  const mine = from === ME;
  const made: OfferView = {
    room,
    from,
    offer: id<OfferId>(`offer-${name.replace(/[^a-z0-9]/gi, '')}`),
    mine,
    at: 0,
    name,
    entries: files.length,
    preview: files.slice(0, 20),
    total,
    phase,
    done: phase === 'done' ? total : 0,
    receivers: [],
    traffic: {
      sent: 0,
      resent: 0,
      resent_durable: 0,
      received: 0,
      received_durable: 0,
      resumed: 0,
    },
    paused: { here: phase === 'paused', there: false },
    can: [],
    ...(phase === 'done'
      ? { dir: '/home/sam/Downloads', path: `/home/sam/Downloads/${name}` }
      : {}),
    ...more,
  };
  return { ...made, can: more.can ?? can(made) };
}

/** The offer in another phase, with what may be done then. */
export function moved(
  old: OfferView,
  phase: OfferView['phase'],
  more: Partial<OfferView> = {},
): OfferView {
  const next = { ...old, phase, ...more };
  return { ...next, can: more.can ?? can(next) };
}

export function receiver(
  peer: PeerId,
  name: string,
  phase: ReceiverView['phase'],
  done = 0,
  more: Partial<ReceiverView> = {},
): ReceiverView {
  const paused = more.paused ?? { here: phase === 'paused', there: false };
  const turn = paused.here ? 'resume' : 'pause';
  return { peer, name, phase, done, paused, can: RUNS.includes(phase) ? [turn] : [], ...more };
}

const seqs = new Map<string, number>();

export function message(
  room: RoomId,
  author: PeerId,
  name: string,
  at: number,
  text: string,
  delivered: PeerId[] = [],
): MessageView {
  const log = `${room} ${author}`;
  const seq = (seqs.get(log) ?? 0) + 1;
  seqs.set(log, seq);
  const msg = id<MsgId>(`m${author.slice(0, 6)}${seq}`);
  return { room, author, name, seq, id: msg, at, stored: at, text, delivered };
}

export function settings(theme: Theme, more: Partial<Settings> = {}): Settings {
  return { welcomed: true, theme, downloads: '/home/sam/Downloads', room_names: {}, ...more };
}

/** What holds for all transfers of a new installation. */
export const TRANSFERS: TransferSettings = {
  at_once: 3,
  up: null,
  down: null,
  accept: { from: [], most: null, kinds: [], dir: '' },
};

/** What a scene begins with, and what happens in it by itself. */
export interface Scene {
  snapshot: Omit<Snapshot, 'rev' | 'transfers'>;
  transfers?: Partial<TransferSettings>;
  messages: MessageView[];
  settings?: Partial<Settings>;
  /** Unfinished files that belong to no transfer. */
  leftovers?: LeftoverFolder[];
  /** An invite that the app was opened with. */
  invite?: string;
  /** Refusals by command name. */
  refuse?: Partial<Record<string, string>>;
  /** Files over the window. */
  dragging?: { x: number; y: number };
  /** Whether the engine does not answer at all. */
  broken?: boolean;
}
