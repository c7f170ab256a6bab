/** The window in a real browser: for everybody, by keyboard, under the policy of the app. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SCENES, start } from './page.js';

const AXE = readFileSync(
  fileURLToPath(new URL('../node_modules/axe-core/axe.min.js', import.meta.url)),
  'utf8',
);

/** @type {Awaited<ReturnType<typeof start>>} */
let browser;
beforeAll(async () => {
  browser = await start();
});
afterAll(() => browser.stop());

/** What axe finds, in short. */
async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    });
    return violations.map((v) => ({
      id: v.id,
      nodes: v.nodes.slice(0, 3).map((n) => `${n.target.join(' ')}: ${n.failureSummary}`),
    }));
  });
  return found;
}

/** What stands out of the page at its sides. */
async function outside(page) {
  return page.evaluate(() => {
    const wide = document.documentElement.clientWidth;
    // What is cut at the end of its line is not seen beyond it.
    const inside = (e) => e.closest('.aside, .cut *');
    return [...document.querySelectorAll('body *')]
      .filter((e) => e.checkVisibility() && !inside(e))
      .filter((e) => {
        const { left, right, width } = e.getBoundingClientRect();
        return width > 0 && (right > wide + 1 || left < -1);
      })
      .slice(0, 4)
      .map((e) => `${e.tagName}.${e.className} ${e.textContent?.slice(0, 40)}`);
  });
}

describe('every scene', () => {
  for (const scene of SCENES) {
    for (const theme of ['light', 'dark']) {
      it(`${scene}, ${theme}: no barrier, nothing the policy forbids`, async () => {
        const { page, complaints, close } = await browser.open({ scene, theme });
        expect(await violations(page)).toEqual([]);
        expect(complaints).toEqual([]);
        await close();
      });
    }
    it(`${scene}: fits from 320 pixels to ultra-wide`, async () => {
      for (const width of [320, 700, 1000, 3440]) {
        const { page, close } = await browser.open({ scene, width });
        expect(await outside(page), `${width} pixels`).toEqual([]);
        await close();
      }
    });
  }

  it('transfers: fits while rates and times are shown too', async () => {
    for (const width of [320, 360, 1280]) {
      const { page, close } = await browser.open({ scene: 'busy', width, still: false });
      const card = page.getByRole('article', { name: /lease-2026/ });
      await card.getByText(/left/).waitFor();
      expect(await outside(page), `${width} pixels`).toEqual([]);
      await close();
    }
  });

  it('is the one that the fake host has', () => {
    const path = fileURLToPath(new URL('../src/lib/api/fake/scenes.ts', import.meta.url));
    const table =
      readFileSync(path, 'utf8').split('export const SCENES')[1]?.split('\n};')[0] ?? '';
    const names = [...table.matchAll(/^ {2}'?([a-z-]+)'?: \(/gm)].map((m) => m[1]);
    expect(names).toEqual(SCENES);
  });
});

describe('every dialog', () => {
  const KEYS = {
    'New room': 'Control+n',
    'Join a room': 'Control+j',
    'Invite people': 'Control+i',
    Settings: 'Control+,',
    'Keyboard shortcuts': 'Control+/',
  };
  for (const [title, keys] of Object.entries(KEYS)) {
    it(`${title}: opens and closes by keyboard, without a barrier, at any width`, async () => {
      for (const [width, theme] of [
        [1280, 'light'],
        [320, 'dark'],
      ]) {
        const { page, complaints, close } = await browser.open({ scene: 'busy', width, theme });
        await page.keyboard.press(keys);
        await page.getByRole('dialog', { name: title }).waitFor();
        expect(await violations(page)).toEqual([]);
        expect(await outside(page)).toEqual([]);
        await page.keyboard.press('Escape');
        await page.getByRole('dialog').waitFor({ state: 'detached' });
        expect(complaints).toEqual([]);
        await close();
      }
    });
  }
});

describe('a dialog', () => {
  for (const [open, field] of [
    ['Settings', 'Your name'],
    ['About this room', 'Name of the room'],
  ]) {
    it(`${open}: keeps what is typed while the room goes on`, async () => {
      const { page, close } = await browser.open({ scene: 'transfers', still: false });
      await page.getByRole('button', { name: open }).click();
      const typed = page.getByRole('textbox', { name: field });
      await typed.fill('Somebody else');
      const bar = page.getByRole('progressbar', { includeHidden: true }).first();
      const was = await bar.getAttribute('value');
      await page.waitForFunction(
        (v) => document.querySelector('progress')?.getAttribute('value') !== v,
        was,
      );
      expect(await typed.inputValue()).toBe('Somebody else');
      await close();
    });
  }

  it('gives the focus back to where it came from', async () => {
    const { page, close } = await browser.open({ scene: 'busy' });
    const button = page.getByRole('button', { name: 'Settings' });
    await button.focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'Settings' }).waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    expect(await button.evaluate((e) => e === document.activeElement)).toBe(true);
    await close();
  });
});

describe('the theme', () => {
  it('follows the system until it is chosen, and then the choice', async () => {
    const { page, close } = await browser.open({ scene: 'busy', theme: 'system' });
    const ground = () =>
      page.evaluate(() => {
        const [red = 0] = getComputedStyle(document.body).backgroundColor.match(/\d+/g) ?? [];
        return Number(red) > 127 ? 'light' : 'dark';
      });
    for (const system of /** @type {const} */ (['light', 'dark'])) {
      await page.emulateMedia({ colorScheme: system });
      expect(await ground()).toBe(system);
    }
    await page.keyboard.press('Control+,');
    await page.getByRole('radio', { name: 'Light' }).check();
    expect(await ground()).toBe('light');
    await close();
  });
});

/** Presses Tab until the focus is on what has this name. */
async function tabTo(page, role, name, most = 80) {
  const goal = page.getByRole(role, { name }).first();
  for (let i = 0; i < most; i++) {
    await page.keyboard.press('Tab');
    if (await goal.evaluate((e) => e === document.activeElement)) {
      const outline = await goal.evaluate((e) => {
        const ring = (x) => getComputedStyle(x).outlineStyle;
        return [
          ring(e),
          ...(e.parentElement ? [ring(e.parentElement)] : []),
          ring(e.closest('.box') ?? e),
        ];
      });
      expect(outline, `the focus on ${name} is seen`).not.toEqual(['none', 'none', 'none']);
      return goal;
    }
  }
  throw new Error(`Tab does not come to ${role} ${name}`);
}

describe('the main job, by keyboard alone', () => {
  it('names us, makes a room, copies its invite and writes a message', async () => {
    const { page, complaints, close } = await browser.open({ scene: 'first-start', still: false });
    await tabTo(page, 'textbox', 'What should others call you?');
    await page.keyboard.press('Control+a');
    await page.keyboard.type('Sam');
    await tabTo(page, 'button', 'Create room');
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'Invite people' });
    await dialog.waitFor();
    // The dialog begins with what one came for.
    await page.keyboard.press('Enter');
    await page.getByText('Copied to the clipboard').waitFor({ state: 'attached' });
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    expect(copied).toMatch(/^kith:\/\/.+#v1\./);
    await page.keyboard.press('Escape');
    await page.keyboard.press('Control+m');
    await page.keyboard.type('Hello');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('everybody');
    await page.keyboard.press('Enter');
    await page.getByRole('article').getByText('Hello\neverybody').waitFor();
    expect(complaints).toEqual([]);
    await close();
  });

  it('accepts a file, sees it come, and cancels a transfer', async () => {
    const { page, complaints, close } = await browser.open({ scene: 'transfers', still: false });
    const card = page.getByRole('article', { name: /waiting-for-you\.zip/ });
    const accept = await tabTo(page, 'button', 'Accept: waiting-for-you.zip');
    await accept.press('Enter');
    await card.getByText(/Receiving/).waitFor();
    await card.getByText(/MB\/s · .*left/).waitFor();
    const cancel = await tabTo(page, 'button', 'Cancel: waiting-for-you.zip');
    await cancel.press('Enter');
    await card.getByText('Declined').waitFor();
    expect(await card.getByRole('progressbar').count()).toBe(0);
    expect(complaints).toEqual([]);
    await close();
  });

  it('pauses a transfer, limits it, and lets it go on', async () => {
    const { page, complaints, close } = await browser.open({ scene: 'queue', still: false });
    const card = page.getByRole('article', { name: /holiday\.mp4/ });
    const pause = await tabTo(page, 'button', 'Pause: holiday.mp4', 400);
    await pause.press('Enter');
    await card.getByText('You paused it').waitFor();
    const limit = await tabTo(page, 'button', 'limit the speed: holiday.mp4', 400);
    await limit.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'Limit the speed' });
    await dialog.getByLabel('At most', { exact: true }).selectOption('Other …');
    const field = dialog.getByRole('textbox', { name: 'At most, in MB/s' });
    expect(await field.evaluate((e) => e === document.activeElement)).toBe(true);
    await page.keyboard.type('fast');
    await page.keyboard.press('Enter');
    await dialog.getByRole('alert').getByText('such as 2.5').waitFor();
    await page.keyboard.press('Control+a');
    await page.keyboard.type('2,5');
    await page.keyboard.press('Enter');
    await dialog.waitFor({ state: 'detached' });
    await card.getByText('At most 2.5 MB/s').waitFor();
    const resume = await tabTo(page, 'button', 'Resume: holiday.mp4', 400);
    await resume.press('Enter');
    await card.getByText('You paused it').waitFor({ state: 'detached' });
    expect(complaints).toEqual([]);
    await close();
  });

  it('puts the queue in another order, and keeps its place there', async () => {
    const { page, complaints, close } = await browser.open({ scene: 'queue' });
    const queue = page.getByRole('region', { name: 'Waiting for their turn' });
    const names = () => queue.locator('.name').allInnerTexts();
    await page.keyboard.press('Control+t');
    await queue.waitFor();
    expect(await names()).toEqual(['first.tar', 'second.tar', 'third.tar']);
    await tabTo(page, 'button', 'Sooner: third.tar', 400);
    await page.keyboard.press('Enter');
    await queue.locator('li').nth(1).getByText('third.tar').waitFor();
    await page.keyboard.press('Enter');
    await queue.locator('li').first().getByText('third.tar').waitFor();
    expect(await names()).toEqual(['third.tar', 'first.tar', 'second.tar']);
    // At the end of its way the focus is on the other one.
    const focus = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label'));
    expect(await focus()).toBe('Later: third.tar');
    await page.getByText('third.tar: place 1 of 3').waitFor({ state: 'attached' });
    await page.keyboard.press('Escape');
    await page.getByRole('main', { name: 'Room' }).waitFor();
    expect(complaints).toEqual([]);
    await close();
  });

  it('goes around the parts of the window and along the rooms', async () => {
    const { page, close } = await browser.open({ scene: 'busy' });
    const where = () =>
      page.evaluate(() =>
        document.activeElement?.closest('[data-area]')?.getAttribute('aria-label'),
      );
    const seen = [];
    for (let i = 0; i < 4; i++) {
      await page.keyboard.press('F6');
      seen.push(await where());
    }
    expect(seen).toEqual(['Rooms', 'Messages and files', 'Write', 'People']);
    await page.keyboard.press('Alt+ArrowDown');
    await page.getByRole('heading', { name: 'Ada and Noor' }).waitFor();
    await page.keyboard.press('Alt+ArrowUp');
    await page.getByRole('heading', { name: 'Ada, Bob and 2 others' }).waitFor();
    await close();
  });

  it('finds its way in a narrow window', async () => {
    const { page, close } = await browser.open({ scene: 'busy', width: 360 });
    const focus = () =>
      page.evaluate(() => {
        const e = document.activeElement;
        return e?.getAttribute('aria-label') ?? e?.textContent?.trim().slice(0, 16);
      });
    await page.keyboard.press('Control+p');
    await page.getByRole('complementary', { name: 'People and files' }).waitFor();
    expect(await focus()).toBe('Close people and files');
    await page.keyboard.press('Escape');
    expect(await focus()).toBe('People and files');
    await tabTo(page, 'button', 'Back to the rooms');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Kith' }).waitFor();
    expect(await focus()).toContain('Ada, Bob');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Ada and Noor' }).waitFor();
    await close();
  });

  it('says why something was refused, and keeps what was written', async () => {
    const { page, close } = await browser.open({ scene: 'errors' });
    await page.keyboard.press('Control+m');
    await page.keyboard.type('Important');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText('The disk is full').waitFor();
    expect(await page.getByRole('textbox', { name: /Message to everyone/ }).inputValue()).toBe(
      'Important',
    );
    await page.keyboard.press('Control+j');
    await page.getByRole('textbox', { name: 'Invite link' }).fill('nonsense');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText('the invite is cut off').waitFor();
    expect(await violations(page)).toEqual([]);
    await close();
  });
});

describe('the transfers of all rooms', () => {
  const open = async (scene, width = 1280, theme = 'light') => {
    const opened = await browser.open({ scene, width, theme });
    await opened.page.keyboard.press('Control+t');
    await opened.page.getByRole('main', { name: 'Transfers' }).waitFor();
    return opened;
  };

  for (const scene of ['queue', 'many', 'long-names', 'hostile', 'empty-room']) {
    it(`${scene}: no barrier, and fits from 320 pixels to ultra-wide`, async () => {
      for (const [width, theme] of /** @type {const} */ ([
        [320, 'dark'],
        [1280, 'light'],
        [3440, 'dark'],
      ])) {
        const { page, complaints, close } = await open(scene, width, theme);
        expect(await violations(page)).toEqual([]);
        expect(await outside(page), `${width} pixels`).toEqual([]);
        expect(complaints).toEqual([]);
        await close();
      }
    });
  }

  it('say at their door what needs somebody, and lead to its room', async () => {
    const { page, close } = await open('queue');
    const door = page.getByRole('navigation').getByRole('button', { name: /Transfers/ });
    expect(await door.getAttribute('aria-current')).toBe('page');
    expect(await door.innerText()).toContain('4 held up');
    const row = page.locator('.row', { hasText: 'thesis.pdf' });
    await row.getByRole('button', { name: 'Ada and Noor' }).click();
    await page.getByRole('heading', { name: 'Ada and Noor' }).waitFor();
    await close();
  });

  it('are dragged to another place by hand', async () => {
    const { page, close } = await open('queue');
    const queue = page.getByRole('region', { name: 'Waiting for their turn' });
    const handle = async (name) => {
      const place = queue.locator('li', { hasText: name }).locator('.place');
      await place.scrollIntoViewIfNeeded();
      const { x, y, width, height } = (await place.boundingBox()) ?? {
        x: 0,
        y: 0,
        width: 0,
        height: 0,
      };
      return [x + width / 2, y + height / 2];
    };
    const [x = 0, y = 0] = await handle('first.tar');
    await page.mouse.move(x, y);
    await page.mouse.down();
    const [, below = 0] = await handle('second.tar');
    await page.mouse.move(x, below + 20, { steps: 5 });
    await page.mouse.up();
    await queue.locator('li').first().getByText('second.tar').waitFor();
    expect(await queue.locator('.name').allInnerTexts()).toEqual([
      'second.tar',
      'first.tar',
      'third.tar',
    ]);
    await close();
  });

  it('are all held back and let go again', async () => {
    const { page, close } = await open('queue');
    await page.getByRole('button', { name: 'Pause all' }).click();
    await page.getByRole('region', { name: 'Under way' }).waitFor({ state: 'detached' });
    await page
      .getByRole('region', { name: 'Waiting for their turn' })
      .waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Resume all' }).click();
    const running = page.getByRole('region', { name: 'Under way' });
    await running.getByText('to-ada.zip').waitFor();
    await close();
  });

  it('pause for one receiver of many', async () => {
    const { page, close } = await open('queue');
    const row = page.locator('.row', { hasText: 'to-everybody.iso' });
    await row.getByText('24 receivers').click();
    expect(await row.getByRole('listitem').count()).toBe(5);
    await row.getByRole('button', { name: 'Show 19 more' }).click();
    expect(await row.getByRole('listitem').count()).toBe(24);
    await row.getByRole('button', { name: 'Pause for Guest 1: to-everybody.iso' }).click();
    await row.getByRole('button', { name: 'Resume for Guest 1: to-everybody.iso' }).waitFor();
    await close();
  });
});

describe('the settings for transfers', () => {
  it('take files of whom one chooses, and of nobody else', async () => {
    for (const [width, theme] of /** @type {const} */ ([
      [1280, 'light'],
      [320, 'dark'],
    ])) {
      const { page, complaints, close } = await browser.open({ scene: 'busy', width, theme });
      await page.keyboard.press('Control+,');
      await page.getByRole('button', { name: 'Change the settings for transfers' }).click();
      const dialog = page.getByRole('dialog', { name: 'Settings for transfers' });
      await dialog.getByText('You are always asked').waitFor();
      expect(await dialog.getByRole('checkbox', { checked: true }).count()).toBe(0);
      await dialog.getByRole('checkbox', { name: 'Ada' }).check();
      await dialog.getByLabel('Kinds of files').selectOption('Only these …');
      await page.keyboard.type('.JPG png');
      await page.keyboard.press('Tab');
      expect(await dialog.getByRole('textbox', { name: 'Names that end in' }).inputValue()).toBe(
        'jpg, png',
      );
      await dialog.getByLabel('All of an offer, at most').selectOption('1.0 GB');
      await dialog.getByText('/home/sam/Downloads').waitFor();
      expect(await violations(page)).toEqual([]);
      expect(await outside(page), `${width} pixels`).toEqual([]);
      await dialog.getByRole('button', { name: /Always ask again/ }).click();
      await dialog.getByText('You are always asked').waitFor();
      expect(complaints).toEqual([]);
      await close();
    }
  });

  it('show unfinished files that belong to no transfer, and remove them after a question', async () => {
    for (const [width, theme] of /** @type {const} */ ([
      [1280, 'dark'],
      [320, 'light'],
    ])) {
      const { page, complaints, close } = await browser.open({ scene: 'leftovers', width, theme });
      await page.keyboard.press('Control+,');
      await page.getByRole('button', { name: 'Change the settings for transfers' }).click();
      const settings = page.getByRole('dialog', { name: 'Settings for transfers' });
      await settings.getByText('3 files, 1.7 GB in /home/sam/Downloads').waitFor();
      const remove = settings.getByRole('button', { name: 'Remove unfinished files' });
      await remove.click();
      const sure = page.getByRole('dialog', { name: 'Remove unfinished files?' });
      await sure.getByText('1 file, 700 MB in /media/stick/films').waitFor();
      expect(await violations(page)).toEqual([]);
      expect(await outside(page), `${width} pixels`).toEqual([]);
      await sure.getByRole('button', { name: 'Keep' }).click();
      await remove.click();
      await sure.getByRole('button', { name: 'Remove for good' }).click();
      await settings.getByText('Files received at a time').waitFor();
      await remove.waitFor({ state: 'detached' });
      expect(complaints).toEqual([]);
      await close();
    }
  });

  it('show them also when they are opened from the list of all transfers', async () => {
    const { page, close } = await browser.open({ scene: 'leftovers' });
    await page.keyboard.press('Control+t');
    await page.getByRole('button', { name: 'Settings for transfers' }).click();
    const settings = page.getByRole('dialog', { name: 'Settings for transfers' });
    await settings.getByText('3 files, 1.7 GB in /home/sam/Downloads').waitFor();
    await close();
  });
});

describe('files that are dropped', () => {
  const push = (page, detail) =>
    page.evaluate(
      (d) => window.dispatchEvent(new CustomEvent('fake-push', { detail: { type: 'drag', ...d } })),
      detail,
    );
  const paths = ['/home/sam/garden.jpg'];

  it('are offered to everybody, or only to the person under them', async () => {
    const { page, close } = await browser.open({ scene: 'dropping' });
    await page.getByText('Drop to offer to everyone').waitFor();
    const box = await page.locator('[data-drop-peer]').first().boundingBox();
    const ada = { x: (box?.x ?? 0) + 20, y: (box?.y ?? 0) + 20 };
    await push(page, { at: 'over', ...ada });
    await page.getByText('Drop to offer to Ada').waitFor();
    await push(page, { at: 'dropped', ...ada, paths });
    const card = page.getByRole('article', { name: 'You offer garden.jpg' });
    await card.getByText('Ada').waitFor();
    expect(await card.getByText('Has not decided').count()).toBe(1);
    await push(page, { at: 'over', x: 600, y: 300 });
    await push(page, { at: 'dropped', x: 600, y: 300, paths: ['/home/sam/all.zip'] });
    const all = page.getByRole('article', { name: 'You offer all.zip' });
    await all.getByText('Has not decided').first().waitFor();
    expect(await all.getByText('Has not decided').count()).toBe(2);
    expect(await page.getByText('Drop to offer').count()).toBe(0);
    await close();
  });
});

describe('a long room', () => {
  it('shows 10,000 messages a few at a time, and reaches the first', async () => {
    const { page, close } = await browser.open({ scene: 'many' });
    const view = page.getByRole('region', { name: 'Messages and files' });
    await page.getByText('Message number 10000', { exact: true }).waitFor();
    expect(await page.locator('[data-line]').count()).toBeLessThan(300);
    const first = page.getByText('Message number 1', { exact: true });
    for (let i = 0; i < 400 && !(await first.isVisible()); i++) {
      await view.evaluate((e) => {
        e.scrollTop = 0;
        return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      });
      expect(await page.locator('[data-line]').count()).toBeLessThan(300);
    }
    expect(await first.isVisible()).toBe(true);
    await page.getByRole('button', { name: 'Newest' }).click();
    await page.getByText('Message number 10000', { exact: true }).waitFor();
    await close();
  }, 180_000);

  it('keeps the place one reads at when older messages come', async () => {
    const { page, close } = await browser.open({ scene: 'many' });
    const view = page.getByRole('region', { name: 'Messages and files' });
    // A wheel turn that makes the page load what is before it.
    const moved = await view.evaluate(async (e) => {
      const frame = () => new Promise((done) => requestAnimationFrame(done));
      e.scrollTop = 500;
      const top = e.getBoundingClientRect().top;
      const line = [...e.querySelectorAll('[data-line]')].find(
        (l) => l.getBoundingClientRect().bottom > top,
      );
      const was = line?.getBoundingClientRect().top ?? 0;
      for (let i = 0; i < 10; i++) await frame();
      return Math.abs((line?.getBoundingClientRect().top ?? 1e9) - was);
    });
    expect(moved).toBeLessThan(2);
    await close();
  });
});

describe('what strangers write', () => {
  it('is text and nothing else', async () => {
    const { page, complaints, close } = await browser.open({ scene: 'hostile' });
    let asked = false;
    page.on('dialog', () => (asked = true));
    await page.getByRole('button', { name: 'Show all of it' }).first().click();
    const made = await page.evaluate(
      () =>
        document.querySelectorAll('main script, main img, main b, main style, main h1 *:not(bdi)')
          .length,
    );
    expect(made).toBe(0);
    const text = await page.evaluate(() => document.body.innerText);
    // eslint-disable-next-line no-control-regex
    expect(text).not.toMatch(/[\u0000-\u0008\u001b\u202a-\u202e\u2066-\u2069]/);
    expect(text).toContain('‹U+202E›');
    expect([asked, complaints]).toEqual([false, []]);
    await close();
  });
});

describe('people who want less movement', () => {
  it('get none', async () => {
    const { page, close } = await browser.open({ scene: 'busy' });
    const moving = await page.evaluate(
      () =>
        document.getAnimations().length +
        [...document.querySelectorAll('*')].filter(
          (e) => getComputedStyle(e).transitionDuration !== '0s',
        ).length,
    );
    expect(moving).toBe(0);
    await close();
  });
});
