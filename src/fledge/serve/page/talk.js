// One conversation with one model: asks, shows the answer as it comes, stops, edits, and goes on
// from a token.

import { post, stream } from "./api.js";
import { Conversation, toMessages } from "./conversation.js";
import { announce, keepFocus, make } from "./dom.js";
import { drawSeed, rules, settings } from "./settings.js";
import { drawTurn, fillAnswer } from "./turn.js";

const FRAME_MS = 60; // between two looks of an answer that is under way

export class Talk {
  // model(): its name. about: what /fledge/models answers. blind: nothing tells which model it is.
  // changed(): the conversation is another one now, or an answer began or ended.
  constructor({ model, about, blind = false, changed = () => {}, kept = undefined }) {
    Object.assign(this, { model, about, blind, changed });
    this.conversation = new Conversation(kept);
    for (const turn of this.conversation.turns) turn.ended ??= "stopped"; // by a reload
    this.views = new Map(); // of turns: how they are shown
    this.stopper = null;
    this.element = make("div", { class: "turns", role: "log", "aria-live": "off" });
    this.render();
  }

  get busy() {
    return this.stopper !== null;
  }

  view(turn) {
    if (!this.views.has(turn.id)) this.views.set(turn.id, { shows: "text" });
    return this.views.get(turn.id);
  }

  ask(text, seed = drawSeed()) {
    return this.answer(this.say(this.conversation.last(), text), { seed });
  }

  say(parent, text) {
    return this.conversation.add(parent, { role: "user", content: text, ended: "said" });
  }

  stop() {
    this.stopper?.abort();
  }

  // start: the tokens that the answer begins with, as ids.
  async answer(question, { seed = drawSeed(), start = [] } = {}) {
    this.stop();
    const stopper = new AbortController();
    this.stopper = stopper;
    const drawn = rules(seed);
    const turn = this.conversation.add(question, {
      role: "assistant",
      content: "",
      tokens: [...start],
      model: this.model(),
      seed: drawn.seed,
      ended: null,
    });
    this.render();
    this.changed();
    const body = {
      model: turn.model,
      messages: toMessages([...this.conversation.before(question), question], settings),
      stream: true,
      stream_options: { include_usage: true },
      logprobs: true,
      return_token_ids: true,
      ...drawn,
      ...(start.length ? { continue_tokens: start } : {}),
    };
    try {
      await this.read(turn, body, stopper.signal);
    } catch (error) {
      turn.ended ??= stopper.signal.aborted ? "stopped" : "error";
      if (!stopper.signal.aborted) turn.error = error.message;
    }
    if (this.stopper === stopper) this.stopper = null;
    this.render();
    if (!this.blind) announce(turn.error ?? turn.content);
    this.changed();
    return turn;
  }

  async read(turn, body, signal) {
    const begun = turn.tokens.length; // these are not said now
    let first = 0;
    let due = 0;
    for await (const event of stream("v1/chat/completions", body, signal)) {
      if (event.memory?.sources.length) turn.sources = event.memory.sources;
      const [choice] = event.choices ?? [];
      if (!choice) continue;
      turn.content += choice.delta?.content ?? "";
      turn.tokens.push(...(choice.logprobs?.content ?? []).map((token) => token.token_id));
      turn.ended = choice.finish_reason ?? turn.ended;
      const now = performance.now();
      first ||= now;
      turn.speed = now > first ? ((turn.tokens.length - begun - 1) * 1000) / (now - first) : null;
      if (now < due) continue;
      fillAnswer(this, turn);
      // A long answer takes a while to be drawn: the browser has three times that for everything
      // else.
      due = performance.now() + Math.max(FRAME_MS, 3 * (performance.now() - now));
    }
  }

  // A new turn beside this one: what the person meant to say, or what the model should have said.
  edit(turn, text) {
    if (turn.role === "user") return this.answer(this.say(this.conversation.parentOf(turn), text));
    this.conversation.add(this.conversation.parentOf(turn), {
      role: "assistant",
      content: text,
      tokens: null,
      model: turn.model,
      ended: "edited",
    });
    this.render();
    return this.changed();
  }

  again(turn) {
    return this.answer(this.conversation.parentOf(turn));
  }

  step(turn, by) {
    this.conversation.step(turn, by);
    this.render();
    this.changed();
  }

  // The probabilities of an answer's tokens, beside those of another model where one is given.
  async measure(turn, against) {
    return post("fledge/tokens", {
      model: turn.model,
      messages: toMessages(this.conversation.before(turn), settings),
      ...(turn.tokens?.length ? { tokens: turn.tokens } : { answer: turn.content }),
      ...(against ? { against } : {}),
    });
  }

  // The messages up to this answer and with it, for whoever judges it.
  messagesWith(turn) {
    const before = toMessages(this.conversation.before(turn), settings);
    return [...before, { role: "assistant", content: turn.content }];
  }

  render() {
    const path = this.conversation.path();
    keepFocus(this.element, () =>
      this.element.replaceChildren(...path.map((turn) => drawTurn(this, turn))),
    );
    const box = this.element.parentElement;
    if (box && this.busy) box.scrollTop = box.scrollHeight;
  }
}
