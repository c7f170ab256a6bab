import js from '@eslint/js';
import svelte from 'eslint-plugin-svelte';
import globals from 'globals';
import ts from 'typescript-eslint';
import svelteConfig from './svelte.config.js';

/** Forbids imports by pattern, with a reason. */
const no = (group, message) => ({ group, message });
const TAURI = no(['@tauri-apps/*'], 'Only src/lib/api/tauri.ts speaks to the shell.');
const FAKE = no(['**/api/fake', '**/api/fake/*'], 'The fake host is chosen in main.ts only.');

export default ts.config(
  { ignores: ['dist', 'node_modules', 'src/lib/api/generated'] },
  js.configs.recommended,
  ...ts.configs.strict,
  ...svelte.configs.recommended,
  {
    languageOptions: { globals: globals.browser },
    rules: {
      'no-console': 'error',
      'no-eval': 'error',
      eqeqeq: 'error',
      'svelte/no-at-html-tags': 'error',
      'svelte/require-each-key': 'error',
      // TypeScript knows globals better.
      'no-undef': 'off',
      // State is replaced, never changed in place.
      'svelte/prefer-svelte-reactivity': 'off',
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_' },
      ],
      'no-restricted-imports': ['error', { patterns: [TAURI, FAKE] }],
    },
  },
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: {
      parserOptions: { parser: ts.parser, extraFileExtensions: ['.svelte'], svelteConfig },
    },
  },
  // The arrows: model knows no rendering, parts know no features, features know no other feature.
  {
    files: ['src/lib/model/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            TAURI,
            FAKE,
            no(
              ['**/ui/*', '**/features/*', '**/screens/*', '**/*.svelte', '!**/app.svelte'],
              'The model does not render.',
            ),
          ],
        },
      ],
    },
  },
  {
    files: ['src/lib/ui/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            TAURI,
            FAKE,
            no(
              ['**/features/*', '**/screens/*', '**/model/app*'],
              'Parts take values and callbacks.',
            ),
          ],
        },
      ],
    },
  },
  {
    files: ['src/lib/features/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            TAURI,
            FAKE,
            no(['**/screens/*'], 'Screens show features.'),
            { regex: '^\\.\\./(?!\\.\\.)', message: 'Screens compose features.' },
          ],
        },
      ],
    },
  },
  {
    files: ['src/lib/api/tauri.ts', 'src/lib/api/fake/**', 'src/main.ts'],
    rules: { 'no-restricted-imports': 'off' },
  },
  {
    files: ['*.config.js', 'browser/**'],
    languageOptions: { globals: globals.node },
    rules: { 'no-console': 'off' },
  },
);
