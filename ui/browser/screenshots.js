/** Pictures of every scene, to be looked at: `npm run screenshots [-- SCENE…]`. */

import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { SCENES, start } from './page.js';

const FOLDER = fileURLToPath(new URL('../../target/screenshots/', import.meta.url));
const SIZES = { narrow: [360, 740], wide: [1280, 800] };

/** What is opened by a key, over the busy scene. */
const DIALOGS = { 'new-room': 'Control+n', invite: 'Control+i', settings: 'Control+,' };

const wanted = process.argv.slice(2);
await mkdir(FOLDER, { recursive: true });
const { open, stop } = await start();
const all = [
  ...SCENES.map((scene) => ({ name: scene, scene, keys: '' })),
  ...Object.entries(DIALOGS).map(([name, keys]) => ({
    name: `dialog-${name}`,
    scene: 'busy',
    keys,
  })),
  { name: 'shortcuts', scene: 'busy', keys: 'Control+/' },
  { name: 'page-transfers', scene: 'queue', keys: 'Control+t' },
  { name: 'page-transfers-empty', scene: 'empty-room', keys: 'Control+t' },
  { name: 'page-transfers-many', scene: 'many', keys: 'Control+t' },
  { name: 'people', scene: 'busy', keys: 'Control+p' },
];
for (const { name, scene, keys } of all) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  for (const theme of ['light', 'dark']) {
    for (const [size, [width, height]] of Object.entries(SIZES)) {
      const { page, close } = await open({ scene, theme, width, height });
      if (keys) await page.keyboard.press(keys);
      await page.screenshot({ path: `${FOLDER}${name}-${theme}-${size}.png` });
      await close();
    }
  }
}
await stop();
console.log(`written to ${FOLDER}`);
