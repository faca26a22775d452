// The official OpenAI client, unchanged, against a running Headrace.
//
//   CLIENTS=FOLDER_WITH_node_modules node openai.cjs BASE_URL CASE
//
// Exit 0 when the case holds; else the assertion is on stderr. The gateway serves the models
// "river" (three simulated pods) and "empty" (a backend without a reachable endpoint).
'use strict';

const assert = require('node:assert/strict');
const { createRequire } = require('node:module');

const OpenAI = createRequire(process.env.CLIENTS + '/')('openai');
const [baseURL, name] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'unused', maxRetries: 0, timeout: 30_000 });
const messages = [
  { role: 'system', content: 'You answer in short.' },
  { role: 'user', content: 'Where does a headrace lead? «Zum Mühlrad» 水車 🙂' },
];

async function fails(promise, kind, status) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
    assert.equal(error.status, status);
    return error;
  }
  return assert.fail(`no ${kind.name}`);
}

const cases = {
  async chat() {
    const answer = await client.chat.completions.create({
      model: 'river', messages, max_tokens: 12,
    });
    assert.equal(answer.object, 'chat.completion');
    assert.equal(answer.model, 'river');
    assert.ok(answer.choices[0].message.content.length > 0);
    assert.ok(['stop', 'length'].includes(answer.choices[0].finish_reason));
    assert.equal(answer.usage.total_tokens,
      answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert.ok(answer.usage.completion_tokens > 0 && answer.usage.completion_tokens <= 12);
  },

  async 'chat-stream'() {
    const stream = await client.chat.completions.create({
      model: 'river', messages, max_tokens: 24, stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let chunks = 0;
    let usage = null;
    let finish = null;
    for await (const chunk of stream) {
      assert.equal(chunk.object, 'chat.completion.chunk');
      chunks += 1;
      text += chunk.choices[0]?.delta?.content ?? '';
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    assert.ok(text.length > 0 && chunks > 2, `${chunks} chunks`);
    assert.ok(['stop', 'length'].includes(finish));
    assert.ok(usage && usage.completion_tokens > 0 && usage.completion_tokens <= 24);
  },

  async 'chat-stream-helper'() {
    const runner = client.chat.completions.stream({ model: 'river', messages, max_tokens: 16 });
    let seen = '';
    runner.on('content', (delta) => { seen += delta; });
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices[0].message.content, seen);
    assert.ok(seen.length > 0);
  },

  async completions() {
    const stream = await client.completions.create({
      model: 'river', prompt: 'Water runs', max_tokens: 16, stream: true,
    });
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0]?.text ?? '';
    assert.ok(text.length > 0);
    const plain = await client.completions.create({
      model: 'river', prompt: 'Water runs', max_tokens: 16,
    });
    assert.ok(plain.choices[0].text.length > 0);
  },

  async embeddings() {
    const answer = await client.embeddings.create({
      model: 'river', input: ['a mill', 'a wheel'], encoding_format: 'float',
    });
    assert.equal(answer.data.length, 2);
    assert.ok(answer.data[0].embedding.every((x) => Number.isFinite(x)));
    // The client asks for base64 by itself when it is not told, and decodes that.
    const coded = await client.embeddings.create({ model: 'river', input: 'a mill' });
    assert.equal(coded.data[0].embedding.length, answer.data[0].embedding.length);
  },

  async models() {
    const ids = [];
    for await (const model of client.models.list()) {
      assert.equal(model.object, 'model');
      ids.push(model.id);
    }
    assert.ok(ids.includes('river') && ids.includes('brook'), ids.join());
  },

  async alias() {
    const answer = await client.chat.completions.create({ model: 'brook', messages, max_tokens: 4 });
    assert.ok(answer.choices[0].message.content.length > 0);
  },

  async 'unknown-model'() {
    const error = await fails(
      client.chat.completions.create({ model: 'rivet', messages }), OpenAI.NotFoundError, 404);
    assert.equal(error.code, 'model_not_found');
    assert.match(error.message, /river/, 'no close name in the message');
    const streamed = await fails(
      client.chat.completions.create({ model: 'rivet', messages, stream: true }),
      OpenAI.NotFoundError, 404);
    assert.equal(streamed.code, 'model_not_found');
  },

  async 'bad-request'() {
    // The gateway refuses a body without a sound model; the client shows its message.
    const error = await fails(client.post('/chat/completions', { body: { model: 7, messages } }),
      OpenAI.BadRequestError, 400);
    assert.match(error.message, /model/);
  },

  async unavailable() {
    const error = await fails(
      client.chat.completions.create({ model: 'empty', messages, stream: true }),
      OpenAI.InternalServerError, 502);
    assert.ok(error.message.length > 0 && error.error.type);
  },

  async abort() {
    const stream = await client.chat.completions.create({
      model: 'river', messages, max_tokens: 2000, stream: true,
    });
    let chunks = 0;
    for await (const _ of stream) {
      chunks += 1;
      if (chunks === 3) break; // leaves the loop: the client aborts the request
    }
    const next = await client.chat.completions.create({ model: 'river', messages, max_tokens: 4 });
    assert.ok(next.choices[0].message.content.length > 0);
  },

  async parallel() {
    const answers = await Promise.all(Array.from({ length: 24 }, (_, n) =>
      client.chat.completions.create({ model: 'river', messages, max_tokens: 4 + (n % 8) })));
    assert.ok(answers.every((a) => a.choices[0].message.content.length > 0));
  },
};

if (!name) {
  console.log(Object.keys(cases).join('\n'));
} else {
  cases[name]().catch((error) => {
    console.error(error.stack ?? String(error));
    process.exit(1);
  });
}
