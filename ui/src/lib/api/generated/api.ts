// Written by the tests of crates/api; not by hand.

export type RoomId = string & { readonly id: "RoomId" };

export type PeerId = string & { readonly id: "PeerId" };

export type OfferId = string & { readonly id: "OfferId" };

export type MsgId = string & { readonly id: "MsgId" };

export type Code = "bad-message" | "too-large" | "not-joined" | "no-such-member" | "room-full" | "room-locked" | "rate-limited" | "busy" | "bad-proof" | "unsupported-version" | "restarting" | "server-unreachable" | "not-a-room-server" | "seal-failed" | "identity-changed" | "bad-sdp" | "confirm-mismatch" | "no-route" | "link-lost" | "peer-protocol" | "declined" | "cancelled" | "source-changed" | "source-gone" | "disk-full" | "disk-denied" | "disk-error" | "corrupt" | "hash-mismatch" | "offer-gone" | "bad-name" | "too-many-offers" | "disk-read-only" | "disk-quota" | "disk-gone" | "home-in-use" | "store-broken" | "not-now" | "bad-request" | "call-declined" | "call-busy" | "no-answer" | "call-cancelled" | "hung-up" | "in-a-call" | "mic-missing" | "mic-denied" | "mic-busy" | "mic-lost" | "speaker-missing" | "unknown";

/**
 * Why a command was refused. The command changed nothing.
 */
export type ApiError = { 
/**
 * For programs.
 */
code: Code, 
/**
 * For people: one sentence that says what to do.
 */
message: string, };

/**
 * Us.
 */
export type Me = { 
/**
 * Our identity.
 */
peer: PeerId, 
/**
 * Our display name.
 */
name: string, };

/**
 * Everything but messages, which are paged by `history`.
 */
export type Snapshot = { 
/**
 * The revision it stands for.
 */
rev: number, 
/**
 * Us.
 */
me: Me, 
/**
 * Rooms we are in.
 */
rooms: Array<RoomView>, 
/**
 * People in them.
 */
people: Array<PersonView>, 
/**
 * Offers in them, ours and others'.
 */
offers: Array<OfferView>, 
/**
 * What the user has chosen for all transfers.
 */
transfers: TransferSettings, };

/**
 * A whole entity, or the word that one is gone.
 */
export type Change = { "type": "me" } & Me | { "type": "room" } & RoomView | { "type": "room-gone", 
/**
 * The room.
 */
room: RoomId, } | { "type": "person" } & PersonView | { "type": "message" } & MessageView | { "type": "offer" } & OfferView | { "type": "transfers" } & TransferSettings;

/**
 * What happened between two revisions, merged by entity: what front ends are sent.
 *
 * An entity stands in it as it was at `rev` or later; applying what is already known changes
 * nothing for long. See [`Snapshot::apply`].
 */
export type Changes = { 
/**
 * It holds all that happened after this revision …
 */
after: number, 
/**
 * … up to this one.
 */
rev: number, 
/**
 * In order.
 */
changes: Array<Change>, };

/**
 * A room.
 */
export type RoomView = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * The link that opens it.
 */
invite: string, 
/**
 * The room server, as people read it.
 */
server: string, 
/**
 * How we stand with the room server.
 */
session: SessionPhase, 
/**
 * Why, where something is wrong.
 */
why?: Code, };

/**
 * How we stand with the room server. Links, transfers and calls do not depend on it once open.
 */
export type SessionPhase = "offline" | "dialing" | "greeting" | "joined" | "waiting" | "refused";

/**
 * A person in a room.
 */
export type PersonView = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * Who.
 */
peer: PeerId, 
/**
 * As they call themselves, fit to show.
 */
name: string, 
/**
 * What they are doing.
 */
presence: Presence, 
/**
 * How we are connected.
 */
link: LinkPhase, 
/**
 * How the data travels, while connected.
 */
route?: Route, 
/**
 * Why, where something is wrong.
 */
why?: Code, 
/**
 * The invite named this person, so the identity is proven.
 */
inviter: boolean, };

/**
 * What a person is doing.
 */
export type Presence = "online" | "away" | "in-call" | "silent" | "offline";

/**
 * How we are connected to a person.
 */
export type LinkPhase = "disconnected" | "signaling" | "connecting" | "connected" | "reconnecting" | "failed";

/**
 * How the data travels.
 */
export type Route = "lan" | "direct" | "relay";

/**
 * A chat message.
 */
export type MessageView = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * Who wrote it.
 */
author: PeerId, 
/**
 * The author's name, fit to show.
 */
name: string, 
/**
 * Its number in the author's log.
 */
seq: number, 
/**
 * The message.
 */
id: MsgId, 
/**
 * When it was written, by the author's clock, milliseconds since 1970.
 */
at: number, 
/**
 * When it was stored here; timelines sort by `(stored, author, seq)`.
 */
stored: number, 
/**
 * The text, as written: escape it for where it is shown.
 */
text: string, 
/**
 * For our own: who has it on disk.
 */
delivered: Array<PeerId>, };

/**
 * Where a page of history ended.
 */
export type Cursor = { 
/**
 * See [`MessageView::stored`].
 */
stored: number, 
/**
 * See [`MessageView::author`].
 */
author: PeerId, 
/**
 * See [`MessageView::seq`].
 */
seq: number, };

/**
 * Files that somebody offers in a room.
 */
export type OfferView = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * Who offers; us for our own.
 */
from: PeerId, 
/**
 * The offer.
 */
offer: OfferId, 
/**
 * Whether it is ours.
 */
mine: boolean, 
/**
 * When it was made or first seen here, by this process, milliseconds since 1970.
 */
at: number, 
/**
 * What it is called.
 */
name: string, 
/**
 * A word to go with it.
 */
note?: string, 
/**
 * Files and folders in it.
 */
entries: number, 
/**
 * The first few of them, as offered.
 */
preview: Array<FileView>, 
/**
 * Bytes of all files.
 */
total: number, 
/**
 * For others' offers: how our fetch stands. For ours: [`FetchPhase::Seen`].
 */
phase: FetchPhase, 
/**
 * Bytes verified and on disk here.
 */
done: number, 
/**
 * Who holds it back. For our own: `here` if we hold back all receivers.
 */
paused: Paused, 
/**
 * While it waits for its turn: its place among all that wait, from 1.
 */
queued?: number, 
/**
 * What the user lets it take, in bytes per second; for our own: all receivers together.
 */
cap?: number, 
/**
 * While the disk is full: the bytes that lack, as far as known.
 */
missing?: number, 
/**
 * Where it is written, or was when the app ran last: taken there, it goes on.
 */
dir?: string, 
/**
 * Once done: the file or folder that it became, or `dir` where it became several.
 */
path?: string, 
/**
 * Why, where something is wrong.
 */
why?: Code, 
/**
 * For others': who passes it on to us, while who offers cannot be reached.
 */
by?: PeerId, 
/**
 * For our own: how receivers are served, once there is one; for others': a swarm, if it is one.
 */
strategy?: Strategy, 
/**
 * For our own, and those that we pass on: how each receiver stands.
 */
receivers: Array<ReceiverView>, 
/**
 * Bytes counted by this process.
 */
traffic: Traffic, 
/**
 * What the user may do now.
 */
can: Array<OfferAction>, };

/**
 * Who holds a transfer back. Either is enough, and only its own side lets it go on.
 */
export type Paused = { 
/**
 * We do.
 */
here: boolean, 
/**
 * The other side does.
 */
there: boolean, };

/**
 * One offered file or folder.
 */
export type FileView = { 
/**
 * As offered: escape it for where it is shown.
 */
path: string, 
/**
 * Bytes.
 */
size: number, 
/**
 * A folder.
 */
dir: boolean, };

/**
 * How a fetch stands.
 */
export type FetchPhase = "seen" | "offered" | "accepted" | "queued" | "fetching" | "paused" | "blocked" | "stalled" | "done" | "failed" | "declined" | "withdrawn";

/**
 * How one receiver of our offer stands.
 */
export type ReceiverView = { 
/**
 * Who.
 */
peer: PeerId, 
/**
 * Their name.
 */
name: string, 
/**
 * How they stand.
 */
phase: ServePhase, 
/**
 * Bytes that are durable at the receiver.
 */
done: number, 
/**
 * Who holds it back.
 */
paused: Paused, 
/**
 * What the receiver wants at most, in bytes per second.
 */
cap?: number, 
/**
 * Why, where something is wrong.
 */
why?: Code, 
/**
 * What the user may do now, for this receiver alone.
 */
can: Array<OfferAction>, };

/**
 * How a receiver of our offer stands.
 */
export type ServePhase = "offered" | "queued" | "waiting" | "serving" | "paused" | "blocked" | "stalled" | "done" | "declined" | "failed";

/**
 * Bytes of file data, counted by this process.
 */
export type Traffic = { 
/**
 * Payload bytes sent; of others' offers: to their other receivers.
 */
sent: number, 
/**
 * Of those: sent before by this process.
 */
resent: number, 
/**
 * Of those: already acknowledged as durable when they were sent again.
 */
resent_durable: number, 
/**
 * Payload bytes received.
 */
received: number, 
/**
 * Of those: already durable here when they came.
 */
received_durable: number, 
/**
 * Bytes that were already here when the fetch began in this process.
 */
resumed: number, };

/**
 * What the user may do with an offer.
 */
export type OfferAction = "accept" | "decline" | "cancel" | "withdraw" | "pause" | "resume" | "reorder" | "limit";

/**
 * What the user has chosen for all transfers.
 */
export type TransferSettings = { 
/**
 * Fetches that run at a time, 1 to [`TransferSettings::MOST_AT_ONCE`]; the others wait.
 */
at_once: number, 
/**
 * Bytes per second that all serves together may take; without a bound if absent.
 */
up: number | null, 
/**
 * … and all fetches.
 */
down: number | null, 
/**
 * What is taken without asking.
 */
accept: AcceptPolicy, };

/**
 * What is taken without asking.
 */
export type AcceptPolicy = { 
/**
 * From these people; nobody: nothing is.
 */
from: Array<PeerId>, 
/**
 * Offers of so many bytes at most; of any size if absent.
 */
most: number | null, 
/**
 * Files whose names all end in one of these, without the dot; any if empty.
 */
kinds: Array<string>, 
/**
 * Folder to write into. Empty only where nothing is taken.
 */
dir: string, };

/**
 * Nothing.
 */
export type Empty = Record<symbol, never>;

/**
 * See [`Handler::create_room`].
 */
export type CreateRoom = { 
/**
 * `host[:port]` or a URL.
 */
server: string, };

/**
 * Reply of [`Handler::create_room`].
 */
export type Created = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * The link that opens it.
 */
invite: string, };

/**
 * See [`Handler::join_room`].
 */
export type JoinRoom = { 
/**
 * The link.
 */
invite: string, };

/**
 * Reply of [`Handler::join_room`].
 */
export type Joined = { 
/**
 * The room.
 */
room: RoomId, };

/**
 * Names a room.
 */
export type RoomRef = { 
/**
 * The room.
 */
room: RoomId, };

/**
 * See [`Handler::send_text`].
 */
export type SendText = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * At most [`kith_protocol::limits::MAX_TEXT`] bytes.
 */
text: string, };

/**
 * Reply of [`Handler::send_text`]: the message is durable here.
 */
export type Sent = { 
/**
 * Its number in our own log.
 */
seq: number, };

/**
 * See [`Handler::offer`].
 */
export type OfferFiles = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * To whom; empty: to everybody in the room.
 */
to: Array<PeerId>, 
/**
 * Files and folders on this machine.
 */
paths: Array<string>, 
/**
 * A word to go with it.
 */
note?: string | null, 
/**
 * How several receivers are served; as their number suggests if absent.
 */
strategy?: Strategy | null, };

/**
 * How several receivers of one offer are served.
 */
export type Strategy = "sequential" | "parallel" | "swarm";

/**
 * Reply of [`Handler::offer`].
 */
export type Offered = { 
/**
 * The offer.
 */
offer: OfferId, 
/**
 * What was left out, and why, in plain words.
 */
skipped: Array<string>, };

/**
 * Names an offer of somebody.
 */
export type OfferRef = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * Who offers.
 */
from: PeerId, 
/**
 * The offer.
 */
offer: OfferId, };

/**
 * See [`Handler::accept`].
 */
export type Accept = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * Who offers.
 */
from: PeerId, 
/**
 * The offer.
 */
offer: OfferId, 
/**
 * Folder to write into; made if missing.
 */
dir: string, };

/**
 * See [`Handler::withdraw`].
 */
export type Withdraw = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * Our offer.
 */
offer: OfferId, };

/**
 * See [`Handler::pause`] and [`Handler::resume`].
 */
export type TransferRef = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * Who offers; us for our own.
 */
from: PeerId, 
/**
 * The offer.
 */
offer: OfferId, 
/**
 * One receiver of an offer of ours; all of them, and those to come, if absent.
 */
peer?: PeerId | null, };

/**
 * See [`Handler::reorder`].
 */
export type Reorder = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * Who offers.
 */
from: PeerId, 
/**
 * The offer.
 */
offer: OfferId, 
/**
 * The fetch that it comes right before, of any room; the last one if absent.
 */
before?: OfferRef | null, };

/**
 * See [`Handler::limit`].
 */
export type Limit = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * Who offers; us for our own.
 */
from: PeerId, 
/**
 * The offer.
 */
offer: OfferId, 
/**
 * At least [`kith_protocol::limits::MIN_PACE`]; without a bound if absent.
 */
bytes_per_s?: number | null, };

/**
 * See [`Handler::history`].
 */
export type HistoryPage = { 
/**
 * The room.
 */
room: RoomId, 
/**
 * Only what is older than this; from the newest if absent.
 */
before?: Cursor | null, 
/**
 * At most 500.
 */
max: number, };

/**
 * Reply of [`Handler::history`], oldest first.
 */
export type History = { 
/**
 * The messages.
 */
messages: Array<MessageView>, 
/**
 * Where to go on; absent at the beginning of the room.
 */
before: Cursor | null, };

/**
 * See [`Handler::rename`].
 */
export type Rename = { 
/**
 * The new name; made fit to show and cut at [`kith_protocol::limits::MAX_NAME`] bytes.
 */
name: string, };

/**
 * What the user has chosen for this installation.
 */
export type Settings = { 
/**
 * Whether somebody has been here before: the name has been chosen or confirmed.
 */
welcomed: boolean, 
/**
 * Light, dark, or as the system.
 */
theme: Theme, 
/**
 * Folder that files are fetched into.
 */
downloads: string, 
/**
 * Names the user gave to rooms. Nobody else sees them.
 */
room_names: { [key in RoomId]: string }, };

/**
 * Colours of the window.
 */
export type Theme = "system" | "light" | "dark";

/**
 * Reply of [`Shell::pick_files`] and [`Shell::pick_folder`].
 */
export type Picked = { 
/**
 * Absolute paths.
 */
paths: Array<string>, };

/**
 * Reply of [`Shell::leftovers`] and [`Shell::remove_leftovers`].
 */
export type Leftovers = { 
/**
 * Folders in which, or below which, there are some.
 */
folders: Array<LeftoverFolder>, };

/**
 * Unfinished files that belong to no transfer.
 */
export type LeftoverFolder = { 
/**
 * An absolute path.
 */
dir: string, 
/**
 * How many.
 */
files: number, 
/**
 * Bytes that they take.
 */
bytes: number, };

/**
 * What the window is told without asking, over its one event pump.
 */
export type Push = { "type": "changes" } & Changes | { "type": "invite", 
/**
 * The link.
 */
invite: string, } | { "type": "drag" } & Drag;

/**
 * Files over the window. Positions are CSS pixels from its top left corner.
 */
export type Drag = { "at": "over", 
/**
 * From the left.
 */
x: number, 
/**
 * From the top.
 */
y: number, } | { "at": "left" } | { "at": "dropped", 
/**
 * From the left.
 */
x: number, 
/**
 * From the top.
 */
y: number, 
/**
 * Absolute paths.
 */
paths: Array<string>, };

/** Every command by name: the engine's, then the app's around it. */
export interface Commands {
  snapshot: { request: Empty; reply: Snapshot };
  create_room: { request: CreateRoom; reply: Created };
  join_room: { request: JoinRoom; reply: Joined };
  leave_room: { request: RoomRef; reply: Empty };
  send_text: { request: SendText; reply: Sent };
  offer: { request: OfferFiles; reply: Offered };
  accept: { request: Accept; reply: Empty };
  decline: { request: OfferRef; reply: Empty };
  withdraw: { request: Withdraw; reply: Empty };
  pause: { request: TransferRef; reply: Empty };
  resume: { request: TransferRef; reply: Empty };
  reorder: { request: Reorder; reply: Empty };
  limit: { request: Limit; reply: Empty };
  set_transfers: { request: TransferSettings; reply: TransferSettings };
  history: { request: HistoryPage; reply: History };
  rename: { request: Rename; reply: Me };
  host_room: { request: Empty; reply: Created };
  settings: { request: Empty; reply: Settings };
  set_settings: { request: Settings; reply: Settings };
  pick_files: { request: Empty; reply: Picked };
  pick_folder: { request: Empty; reply: Picked };
  open: { request: OfferRef; reply: Empty };
  show_in_folder: { request: OfferRef; reply: Empty };
  leftovers: { request: Empty; reply: Leftovers };
  remove_leftovers: { request: Empty; reply: Leftovers };
}
