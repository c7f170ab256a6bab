/** The named scenes of `?scene=…`. */

import type { MessageView, OfferId, OfferView, PeerId, PersonView } from '../generated/api';
import {
  ADA,
  BOB,
  HOME,
  INVITE,
  ME,
  MINUTE,
  MIRA,
  NOOR,
  type Scene,
  TRIP,
  WORK,
  file,
  id,
  message,
  offer,
  person,
  receiver,
  room,
} from './parts';

const me = { peer: ME, name: 'Sam' };
const MB = 1_000_000;

/** All scenes. They are made when asked for, around the given moment. */
export const SCENES: Record<string, (now: number) => Scene> = {
  'first-start': () => ({
    snapshot: { me: { peer: ME, name: 'Quiet Otter' }, rooms: [], people: [], offers: [] },
    messages: [],
    settings: { welcomed: false },
  }),
  'opened-by-link': () => ({
    snapshot: { me: { peer: ME, name: 'Quiet Otter' }, rooms: [], people: [], offers: [] },
    messages: [],
    settings: { welcomed: false },
    invite: INVITE,
  }),
  'no-rooms': () => ({ snapshot: { me, rooms: [], people: [], offers: [] }, messages: [] }),
  'empty-room': () => ({
    snapshot: { me, rooms: [room(HOME)], people: [], offers: [] },
    messages: [],
  }),
  busy: (now) => ({
    snapshot: {
      me,
      rooms: [room(HOME), room(WORK, { server: 'rooms.example.org' }), room(TRIP)],
      people: [...atHome(), ...atWork(), person(TRIP, MIRA, 'Mira', { route: 'direct' })],
      offers: homeOffers(now),
    },
    messages: [...talk(now), ...workTalk(now)],
    settings: { room_names: { [TRIP]: 'Lisbon in May' } },
  }),
  leftovers: () => ({
    snapshot: { me, rooms: [room(HOME)], people: atHome(), offers: [] },
    messages: [],
    leftovers: [
      { dir: '/home/sam/Downloads', files: 3, bytes: 1_730 * MB },
      { dir: '/media/stick/films', files: 1, bytes: 700 * MB },
    ],
  }),
  transfers: (now) => ({
    snapshot: { me, rooms: [room(HOME)], people: atHome(), offers: everyPhase(now) },
    messages: [
      message(HOME, ADA, 'Ada', now - 55 * MINUTE, 'Everything that can happen to a file'),
    ],
  }),
  queue: (now) => ({
    snapshot: {
      me,
      rooms: [room(HOME), room(WORK, { server: 'rooms.example.org' })],
      people: [...atHome(), ...atWork()],
      offers: queued(now),
    },
    messages: talk(now),
    transfers: { down: 25 * MB },
  }),
  'long-names': (now) => longNames(now),
  hostile: (now) => hostile(now),
  many: (now) => many(now),
  errors: (now) => ({
    snapshot: {
      me,
      rooms: [room(HOME, { session: 'refused', why: 'bad-proof' })],
      people: brokenPeople(),
      offers: failedOffers(now),
    },
    messages: [],
    refuse: {
      send_text: 'The disk is full. Make space and send the message again.',
      offer: 'A file to be sent is missing or cannot be read.',
      join_room: 'the invite is cut off: the part after # is missing or incomplete',
      create_room: 'The room server cannot be reached. Check the address and your network.',
      open: 'The file is no longer where it was saved.',
    },
  }),
  'server-lost': (now) => ({
    snapshot: {
      me,
      rooms: [room(HOME, { session: 'waiting', why: 'server-unreachable' })],
      people: atHome(),
      offers: homeOffers(now),
    },
    messages: talk(now),
  }),
  dropping: (now) => ({
    snapshot: { me, rooms: [room(HOME)], people: atHome(), offers: [] },
    messages: talk(now),
    dragging: { x: 500, y: 300 },
  }),
  broken: () => ({
    snapshot: { me, rooms: [], people: [], offers: [] },
    messages: [],
    broken: true,
  }),
};

function atHome(): PersonView[] {
  return [
    person(HOME, ADA, 'Ada', { inviter: true }),
    person(HOME, BOB, 'Bob', { route: 'direct', presence: 'away' }),
    person(HOME, MIRA, 'Mira', { link: 'reconnecting', route: undefined, presence: 'silent' }),
    person(HOME, NOOR, 'Noor', { link: 'disconnected', presence: 'offline', route: undefined }),
  ];
}

function atWork(): PersonView[] {
  return [
    person(WORK, ADA, 'Ada', { route: 'relay' }),
    person(WORK, NOOR, 'Noor', { route: 'direct', presence: 'in-call' }),
  ];
}

function talk(now: number): MessageView[] {
  const all = [ADA, BOB];
  const say = (ago: number, who: PeerId, name: string, text: string, to: PeerId[] = []) =>
    message(HOME, who, name, now - ago * MINUTE, text, to);
  return [
    say(1502, ADA, 'Ada', 'Did the photos from Sunday survive the old laptop?'),
    say(1500, ME, 'Sam', 'All of them. I’ll hand them over tomorrow, it’s about 4 GB.', [
      ...all,
      NOOR,
    ]),
    say(1494, NOOR, 'Noor', 'Lovely. I’m offline most of the evening, just leave them here.'),
    say(46, BOB, 'Bob', 'Morning! Who has the floor plan?'),
    say(45, BOB, 'Bob', 'The one with the measurements, not the brochure.'),
    say(41, ME, 'Sam', 'I do, one moment.', all),
    say(
      26,
      ADA,
      'Ada',
      'Kitchen wall is 3.42 m, by the way. I measured twice.\nThe brochure says 3.60.',
    ),
    say(25, ADA, 'Ada', 'So no, the table does not fit.'),
    say(12, ME, 'Sam', 'Then we take the round one. Sending the video of it now.', [ADA]),
    say(3, BOB, 'Bob', 'Got half of it already. This is fast.'),
  ];
}

function workTalk(now: number): MessageView[] {
  return [
    message(
      WORK,
      NOOR,
      'Noor',
      now - 90 * MINUTE,
      'Draft is in the room, please read before three.',
    ),
    message(WORK, ADA, 'Ada', now - 80 * MINUTE, 'Reading.'),
  ];
}

function homeOffers(now: number): OfferView[] {
  return [
    offer(HOME, ME, 'floor-plan.pdf', [file('floor-plan.pdf', 2.4 * MB)], {
      at: now - 40 * MINUTE,
      receivers: [receiver(BOB, 'Bob', 'done', 2.4 * MB), receiver(ADA, 'Ada', 'done', 2.4 * MB)],
    }),
    offer(
      HOME,
      ADA,
      'Measurements',
      [
        file('Measurements', 0, true),
        file('Measurements/kitchen.jpg', 3.1 * MB),
        file('Measurements/hall.jpg', 2.8 * MB),
        file('Measurements/notes.txt', 1240),
      ],
      { at: now - 24 * MINUTE, note: 'Every wall, twice' },
    ),
    offer(HOME, ME, 'round-table.mp4', [file('round-table.mp4', 884 * MB)], {
      at: now - 11 * MINUTE,
      receivers: [
        receiver(ADA, 'Ada', 'serving', 612 * MB),
        receiver(BOB, 'Bob', 'serving', 431 * MB),
        receiver(MIRA, 'Mira', 'stalled', 96 * MB),
      ],
    }),
    offer(HOME, BOB, 'lease-2026.pdf', [file('lease-2026.pdf', 1.2 * MB)], {
      at: now - 2 * MINUTE,
      phase: 'fetching',
      done: 0.5 * MB,
      dir: '/home/sam/Downloads',
    }),
  ];
}

function everyPhase(now: number): OfferView[] {
  const one = (ago: number, from: PeerId, name: string, size: number, more: Partial<OfferView>) =>
    offer(HOME, from, name, [file(name, size)], { at: now - ago * MINUTE, ...more });
  const dir = '/home/sam/Downloads';
  return [
    one(50, ADA, 'still-being-listed.zip', 30 * MB, { phase: 'seen' }),
    one(48, ADA, 'waiting-for-you.zip', 120 * MB, { note: 'The ones we talked about' }),
    one(46, BOB, 'preparing.iso', 700 * MB, { phase: 'accepted', dir }),
    one(44, BOB, 'arriving.mkv', 4200 * MB, { phase: 'fetching', done: 1834 * MB, dir }),
    one(42, MIRA, 'stalled.tar', 900 * MB, { phase: 'stalled', done: 333 * MB, dir }),
    one(41, NOOR, 'passed-on.mp4', 480 * MB, { by: BOB }),
    one(40, ADA, 'finished.png', 5 * MB, {
      phase: 'done',
      receivers: [receiver(MIRA, 'Mira', 'serving', 2 * MB)],
    }),
    one(38, ADA, 'no-space.img', 64_000 * MB, {
      phase: 'failed',
      why: 'disk-full',
      done: 9000 * MB,
      dir,
    }),
    one(36, BOB, 'declined.exe', 3 * MB, { phase: 'declined' }),
    one(34, NOOR, 'gone.txt', 2000, { phase: 'withdrawn', why: 'offer-gone' }),
    one(30, ME, 'nobody-decided.zip', 80 * MB, {}),
    one(28, ME, 'to-many.mov', 2000 * MB, {
      strategy: 'swarm',
      receivers: [
        receiver(ADA, 'Ada', 'serving', 1500 * MB),
        receiver(BOB, 'Bob', 'done', 2000 * MB),
        receiver(MIRA, 'Mira', 'stalled', 400 * MB),
        receiver(NOOR, 'Noor', 'declined'),
        receiver(id<PeerId>('zed'), 'Zed', 'failed', 10, { why: 'disk-full' }),
        receiver(id<PeerId>('yara'), 'Yara', 'offered'),
      ],
    }),
    one(20, ME, 'taken-back.doc', 90_000, { phase: 'withdrawn', can: [] }),
  ];
}

/** Everything that a transfer can be held back by, in two rooms, and a queue. */
function queued(now: number): OfferView[] {
  const dir = '/home/sam/Downloads';
  let ago = 60;
  const one = (from: PeerId, name: string, size: number, more: Partial<OfferView>) =>
    offer(from === NOOR ? WORK : HOME, from, name, [file(name, size)], {
      at: now - ago-- * MINUTE,
      dir,
      ...more,
    });
  const there = { here: false, there: true };
  return [
    one(ADA, 'wedding.mkv', 64_000 * MB, {
      phase: 'blocked',
      why: 'disk-full',
      missing: 12_400 * MB,
      done: 9000 * MB,
    }),
    one(BOB, 'stick.img', 8000 * MB, { phase: 'blocked', why: 'disk-denied', dir: '/media/stick' }),
    one(ADA, 'broken.bin', 90 * MB, { phase: 'failed', why: 'source-changed', done: 30 * MB }),
    one(ADA, 'holiday.mp4', 2400 * MB, { phase: 'fetching', done: 1100 * MB }),
    one(NOOR, 'thesis.pdf', 40 * MB, { phase: 'fetching', done: 3 * MB, cap: 2 * MB }),
    one(BOB, 'music.zip', 700 * MB, { phase: 'fetching', done: 12 * MB }),
    one(ADA, 'second.tar', 900 * MB, { phase: 'queued', queued: 2 }),
    one(BOB, 'first.tar', 900 * MB, { phase: 'queued', queued: 1 }),
    one(NOOR, 'third.tar', 900 * MB, { phase: 'queued', queued: 3, done: 200 * MB }),
    one(ADA, 'mine-to-resume.iso', 4200 * MB, { phase: 'paused', done: 1834 * MB }),
    one(MIRA, 'theirs.iso', 4200 * MB, { phase: 'paused', paused: there, done: 300 * MB }),
    one(BOB, 'both.iso', 4200 * MB, {
      phase: 'paused',
      paused: { here: true, there: true },
      done: 2100 * MB,
      cap: 5 * MB,
    }),
    one(ADA, 'all-here.png', 5 * MB, { phase: 'done' }),
    one(ME, 'to-ada.zip', 800 * MB, { receivers: [receiver(ADA, 'Ada', 'serving', 200 * MB)] }),
    one(ME, 'to-three.mov', 2000 * MB, {
      cap: 10 * MB,
      receivers: [
        receiver(ADA, 'Ada', 'paused', 1500 * MB, { paused: there }),
        receiver(BOB, 'Bob', 'paused', 900 * MB),
        receiver(MIRA, 'Mira', 'blocked', 400 * MB, { why: 'disk-full' }),
        receiver(NOOR, 'Noor', 'queued'),
      ],
    }),
    one(ME, 'to-everybody.iso', 3000 * MB, {
      receivers: Array.from({ length: 24 }, (_, i) => {
        const phase = (['serving', 'done', 'serving', 'paused', 'offered', 'stalled'] as const)[
          i % 6
        ];
        const done = phase === 'done' ? 3000 * MB : phase === 'offered' ? 0 : (i + 2) * 100 * MB;
        return receiver(id<PeerId>(`guest${i}-`), `Guest ${i + 1}`, phase ?? 'serving', done);
      }),
    }),
  ];
}

function brokenPeople(): PersonView[] {
  const off = { route: undefined };
  return [
    person(HOME, ADA, 'Ada', { link: 'failed', why: 'no-route', ...off }),
    person(HOME, BOB, 'Bob', { link: 'failed', why: 'identity-changed', ...off }),
    person(HOME, MIRA, 'Mira', { link: 'connecting', ...off }),
    person(HOME, NOOR, 'Noor', { link: 'signaling', ...off }),
    person(HOME, id<PeerId>('zed'), 'Zed', { link: 'disconnected', ...off }),
  ];
}

function failedOffers(now: number): OfferView[] {
  const codes = ['disk-full', 'disk-denied', 'corrupt', 'hash-mismatch', 'bad-name'] as const;
  return codes.map((why, i) =>
    offer(HOME, ADA, `${why}.bin`, [file(`${why}.bin`, 90 * MB)], {
      at: now - (9 - i) * MINUTE,
      phase: 'failed',
      done: 30 * MB,
      dir: '/media/stick',
      why,
    }),
  );
}

function longNames(now: number): Scene {
  const long = 'Wolfeschlegelsteinhausenbergerdorff of the Lower Valley and Beyond';
  const arabic = 'محمد عبد الرحمن بن عبد الله';
  const people = [
    person(HOME, ADA, long.slice(0, 64)),
    person(HOME, BOB, arabic, { route: 'relay' }),
    person(HOME, MIRA, '🦦'.repeat(16), { presence: 'silent', route: 'direct' }),
  ];
  const name = `${'quarterly-report-final-really-final-'.repeat(6)}v2.xlsx`;
  return {
    snapshot: {
      me: { peer: ME, name: 'Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch' },
      rooms: [
        room(HOME, { server: `${'very-long-subdomain.'.repeat(5)}example.org:7400` }),
        room(WORK),
      ],
      people,
      offers: [
        offer(HOME, ADA, name, [file(name, 12 * MB)], { at: now - 5 * MINUTE }),
        offer(HOME, BOB, 'تقرير.pdf', [file('تقرير.pdf', MB)], { at: now - 4 * MINUTE }),
        offer(HOME, ME, name, [file(name, 12 * MB)], {
          at: now - 3 * MINUTE,
          receivers: people.map((p) => receiver(p.peer, p.name, 'serving', 7 * MB)),
        }),
      ],
    },
    messages: [
      message(HOME, ADA, people[0]?.name ?? '', now - 9 * MINUTE, 'x'.repeat(10_000)),
      message(HOME, BOB, arabic, now - 8 * MINUTE, 'السلام عليكم — have you seen report.pdf? شكرا'),
      message(HOME, MIRA, people[2]?.name ?? '', now - 7 * MINUTE, '👩‍👩‍👧‍👦 🏳️‍🌈 ก็็็็็็็็็็็็็็็็็็็็ Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!'),
    ],
    settings: {
      room_names: {
        [WORK]: 'The room whose name somebody thought about for a very long time indeed',
      },
    },
  };
}

function hostile(now: number): Scene {
  const texts = [
    '<img src=x onerror=alert(1)><script>alert(2)</script><style>*{display:none}</style>',
    '\u001b[31mred?\u001b[0m \u001b]8;;http://evil\u0007link\u001b]8;;\u0007',
    'safe \u202etxt.exe\u202c and \u2066hidden\u2069 and \u200bzero width',
    '{{7*7}} ${7*7} {@html "<b>x</b>"} javascript:alert(1)',
    '\u0000\u0001\u0002 bells \u0007\u0007',
    `\n\n\n\n${'\n'.repeat(400)}bottom`,
    'W'.repeat(10_000),
    'right to left: שלום עולם! (12:03) Ada: forged line',
  ];
  const evil = 'photo\u202egpj.exe';
  return {
    snapshot: {
      me,
      rooms: [room(HOME, { server: '<b>server</b>' })],
      people: [person(HOME, ADA, '<b>Ada</b>&amp;"\''), person(HOME, BOB, 'Bob')],
      offers: [
        offer(
          HOME,
          ADA,
          evil,
          [file(evil, MB), file('../../etc/passwd', 9), file('a\nb<script>', 1)],
          {
            at: now,
            note: '\u001b[2J<h1>click</h1>',
            total: Number.MAX_SAFE_INTEGER,
            offer: id<OfferId>('evil'),
          },
        ),
      ],
    },
    messages: texts.map((text, i) => {
      const at = now - (30 - i * 2) * MINUTE;
      return { ...message(HOME, ADA, '<b>Ada</b>&amp;"\'', at, text), at: Number.MAX_SAFE_INTEGER };
    }),
  };
}

/** 200 people's worth of everything, and 10,000 messages. */
function many(now: number): Scene {
  const rooms = Array.from({ length: 40 }, (_, i) => room(id(`room${i}`)));
  const first = rooms[0]?.room ?? HOME;
  const people = Array.from({ length: 200 }, (_, i) =>
    person(first, id<PeerId>(`p${i}-`), `Person ${i + 1}`, {
      link: i % 7 === 0 ? 'connecting' : 'connected',
      route: i % 7 === 0 ? undefined : i % 3 === 0 ? 'direct' : 'lan',
    }),
  );
  const at = (i: number) => now - (10_000 - i) * MINUTE;
  const messages = Array.from({ length: 10_000 }, (_, i) => {
    const p = people[i % 17];
    return message(first, p?.peer ?? ADA, p?.name ?? '', at(i), `Message number ${i + 1}`);
  });
  const offers = Array.from({ length: 200 }, (_, i) => {
    const p = people[i % 17];
    const name = `file-${String(i + 1).padStart(3, '0')}.dat`;
    return offer(first, p?.peer ?? ADA, name, [file(name, (i + 1) * MB)], {
      at: now - (200 - i) * 20_000,
      phase: (['offered', 'fetching', 'done', 'declined'] as const)[i % 4],
      done: i % 4 === 2 ? (i + 1) * MB : i % 4 === 1 ? (i * MB) / 2 : 0,
    });
  });
  const names = Object.fromEntries(rooms.map((r, i) => [r.room, `Room ${i + 1}`]));
  return {
    snapshot: { me, rooms, people, offers },
    messages,
    settings: { room_names: names },
  };
}
