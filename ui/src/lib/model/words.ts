/** What states are called, and how sizes and times read. */

import type {
  LeftoverFolder,
  OfferView,
  PersonView,
  RoomView,
  Settings,
} from '../api/generated/api';
import { CODE_TEXTS } from '../api/generated/codes';
import * as inert from './inert';

/** How something is to be felt about. */
export type Tone = 'good' | 'busy' | 'quiet' | 'warn' | 'bad';

/** A number of bytes in decimal units: `512 bytes`, `3.2 MB`, `300 MB`. */
export function size(bytes: number): string {
  if (bytes === 1) return '1 byte';
  if (bytes < 1000) return `${bytes} bytes`;
  let value = bytes;
  for (const unit of ['kB', 'MB', 'GB', 'TB', 'PB']) {
    value /= 1000;
    if (value < 9.95) return `${value.toFixed(1)} ${unit}`;
    if (value < 999.5) return `${value.toFixed(0)} ${unit}`;
  }
  return `${(value / 1000).toFixed(0)} EB`;
}

/** A speed: `3.2 MB/s`. */
export const speed = (bytesPerSecond: number) => `${size(Math.round(bytesPerSecond))}/s`;

/** The time that is left: `a few seconds left`, `40 s left`, `12 min left`. */
export function left(seconds: number): string {
  if (seconds < 5) return 'a few seconds left';
  if (seconds < 60) return `${Math.ceil(seconds / 5) * 5} s left`;
  if (seconds < 3600) return `${Math.ceil(seconds / 60)} min left`;
  if (seconds < 86_400) {
    const minutes = Math.round(seconds / 60);
    return `${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
  }
  return 'more than a day left';
}

/** Whole percent; 100 only when all is there. */
export function percent(done: number, total: number): number {
  if (total <= 0 || done >= total) return 100;
  return Math.min(99, Math.floor((Math.max(0, done) * 100) / total));
}

const NUMBER = new Intl.NumberFormat('en');

/** `1 file`, `3 files`. */
export function count(n: number, one: string, many: string): string {
  return `${NUMBER.format(n)} ${n === 1 ? one : many}`;
}

/** Unfinished files of a folder: `3 files, 1.7 GB`. */
export function leftover({ files, bytes }: Pick<LeftoverFolder, 'files' | 'bytes'>): string {
  return `${count(files, 'file', 'files')}, ${size(bytes)}`;
}

/** `1st`, `2nd`, `3rd`, `11th`. */
export function ordinal(n: number): string {
  const teen = n % 100 >= 11 && n % 100 <= 13;
  return `${NUMBER.format(n)}${(!teen && ['th', 'st', 'nd', 'rd'][n % 10]) || 'th'}`;
}

/** Several as a sentence has them: `Ada, Bob and Mia`. */
export function list(names: readonly string[]): string {
  if (names.length < 2) return names.join('');
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

/** What an offer holds, as exactly as its view tells. */
export function contents(offer: Pick<OfferView, 'entries' | 'preview'>): string {
  const { entries, preview } = offer;
  if (preview.length !== entries) return count(entries, 'file or folder', 'files and folders');
  const folders = preview.filter((f) => f.dir).length;
  const files = entries - folders;
  if (folders === 0) return count(files, 'file', 'files');
  if (files === 0) return count(folders, 'folder', 'folders');
  return `${count(files, 'file', 'files')} in ${count(folders, 'folder', 'folders')}`;
}

/** How we stand with a person: a word, more of it, and its tone. */
export function person(p: PersonView): { word: string; detail: string; tone: Tone } {
  const why = p.why ? CODE_TEXTS[p.why] : '';
  switch (p.link) {
    case 'connected': {
      const route = { lan: 'same network', direct: 'direct', relay: 'through a relay' };
      const way = p.route ? route[p.route] : 'connected';
      switch (p.presence) {
        case 'silent':
          return { word: 'Silent', detail: `nothing heard for seconds · ${way}`, tone: 'warn' };
        case 'away':
          return { word: 'Away', detail: way, tone: 'quiet' };
        case 'in-call':
          return { word: 'In a call', detail: way, tone: 'good' };
        case 'online':
        case 'offline':
          return { word: 'Online', detail: way, tone: 'good' };
      }
    }
    // falls through
    case 'signaling':
      return { word: 'Connecting', detail: 'exchanging addresses', tone: 'busy' };
    case 'connecting':
      return { word: 'Connecting', detail: 'looking for a path', tone: 'busy' };
    case 'reconnecting':
      return { word: 'Reconnecting', detail: 'looking for another path', tone: 'warn' };
    case 'failed':
      return { word: 'Not connected', detail: why || 'Kith tries again', tone: 'bad' };
    case 'disconnected':
      return p.presence === 'offline'
        ? { word: 'Offline', detail: 'not in the room', tone: 'quiet' }
        : { word: 'Not connected', detail: why || 'in the room, waiting for a path', tone: 'busy' };
  }
}

/** What a room is called: as the user named it, or by who is in it. */
export function roomTitle(
  room: RoomView,
  people: readonly PersonView[],
  settings: Pick<Settings, 'room_names'> | null,
): string {
  const own = settings?.room_names[room.room];
  if (own) return inert.name(own);
  const names = people.map((p) => inert.name(p.name));
  if (names.length === 0) return 'New room';
  if (names.length <= 3) return list(names);
  return `${names.slice(0, 2).join(', ')} and ${names.length - 2} others`;
}

/** What to say about the room server, or `null` while all is well. */
export function server(room: RoomView): { text: string; refused: boolean } | null {
  const why = room.why ? CODE_TEXTS[room.why] : '';
  switch (room.session) {
    case 'joined':
      return null;
    case 'refused':
      return {
        text: `${why || 'The room server refused to let you in.'} Open connections go on.`,
        refused: true,
      };
    case 'offline':
      return { text: 'Not connected to the room server. Open connections go on.', refused: true };
    case 'waiting':
      return {
        text: `${why || 'The room server was lost.'} Kith keeps trying. Whoever is connected stays connected; new people can join when it is back.`,
        refused: false,
      };
    case 'dialing':
    case 'greeting':
      return { text: 'Connecting to the room server …', refused: false };
  }
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });

/** A moment that a date can hold: strangers' clocks may say anything. */
const valid = (at: number) => Math.abs(at) <= 8.64e15;

/** Hours and minutes. */
export const clock = (at: number) => (valid(at) ? CLOCK.format(at) : '--:--');

/** All of a moment, for a tooltip. */
export const moment = (at: number) => (valid(at) ? FULL.format(at) : 'an unknown time');

/** For `datetime` attributes. */
export const iso = (at: number) => (valid(at) ? new Date(at).toISOString() : undefined);

/** `Today`, `Yesterday`, or the date. */
export function day(at: number, now: number): string {
  const that = new Date(at).toDateString();
  if (that === new Date(now).toDateString()) return 'Today';
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  if (that === yesterday.toDateString()) return 'Yesterday';
  return DAY.format(at);
}
