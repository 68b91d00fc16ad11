// A game against a run of `fledge selfplay`: the board is clicked, the player answers, and says how
// often it looked at each move and what it expects of it.

import { post } from "./api.js";
import { announce, button, keepFocus, make } from "./dom.js";

const PLACE = "fledge-game"; // of sessionStorage: a reload keeps the game
const SIMULATIONS = [16, 100, 400, 1600];
const SIDES = ["x", "o"];

export function openPlay(place, about) {
  const game = { player: about.players[0].name, seat: 0, simulations: 400, done: [], ...read() };
  if (!about.players.some(({ name }) => name === game.player)) {
    Object.assign(game, { player: about.players[0].name, done: [] });
  }
  let state = null; // what the server said last
  let thoughts = null; // of the player, of the position before its move or of this one
  let busy = false;
  const kind = () => about.players.find(({ name }) => name === game.player);

  const ask = async (wants, done = game.done) => {
    busy = true;
    draw();
    try {
      const { player, simulations } = game;
      const said = await post("fledge/game", { player, simulations, done, wants });
      game.done = said.done;
      state = said;
      if (said.thoughts || said.done.length < 2) thoughts = said.thoughts;
      problem.replaceChildren();
    } catch (error) {
      problem.textContent = error.message;
    }
    busy = false;
    sessionStorage.setItem(PLACE, JSON.stringify(game));
    draw();
  };
  const mine = () => state && state.turn === game.seat;
  // The player answers until it is the person's turn: after dice it may be the player's again.
  const goOn = async () => {
    while (state && state.turn !== null && !mine() && !problem.textContent) {
      await ask("move");
      const last = state.thoughts?.moves.find(({ action }) => action === state.thoughts.action);
      if (last) announce(`${game.player} plays ${last.name}. ${tellEnd() ?? "It is your turn."}`);
    }
  };
  const play = async (action) => {
    if (busy || !mine()) return;
    await ask("nothing", [...game.done, action]);
    await goOn();
  };
  const begin = async () => {
    thoughts = null;
    await ask("nothing", []);
    await goOn();
  };
  // To the person's last turn. Which moves were whose only the server knows: it is asked backwards.
  const undo = async () => {
    const kept = [...game.done];
    while (kept.length) {
      kept.pop();
      await ask("nothing", kept);
      if (mine() || problem.textContent) break;
    }
    thoughts = null;
    draw();
    await goOn(); // where it began, and there was no move of the person's
  };
  const tellEnd = () => {
    if (!state || state.result === null) return null;
    const got = game.seat === 0 ? state.result : -state.result;
    return got > 0 ? "You win." : got < 0 ? "You lose." : "A draw.";
  };

  const board = make("div", { class: "board", role: "group", "aria-label": "Board" });
  const others = make("div", { class: "other-moves", role: "group", "aria-label": "Moves" });
  const status = make("p", { class: "game-status" });
  const problem = make("p", { class: "failure", role: "alert" });
  const panel = make("div", { class: "thoughts" });

  const draw = () => keepFocus(place, redraw);
  const redraw = () => {
    const { rows, columns } = kind();
    board.style.setProperty("--columns", columns);
    const open = new Map(); // a cell: the move that it stands for
    const free = !busy && mine() ? state.moves : [];
    for (const move of free)
      for (const cell of move.cells) if (!open.has(cell)) open.set(cell, move);
    const marked = new Map(); // a cell: how the player thought of moving there
    for (const move of thoughts?.moves ?? []) {
      const shown = move.cells[0];
      if (shown !== undefined && state && !state.cells[shown]) marked.set(shown, move);
    }
    board.replaceChildren(
      ...Array.from({ length: rows * columns }, (_, at) =>
        drawCell(at, state?.cells[at] ?? "", open.get(at), marked.get(at)),
      ),
    );
    others.replaceChildren(
      ...free
        .filter(({ cells }) => !cells.length)
        .map(({ name, action }) => button(name, () => play(action), { "data-key": name })),
    );
    status.textContent = busy
      ? "It thinks …"
      : (tellEnd() ?? (mine() ? `Your move: you are ${SIDES[game.seat]}.` : "Its move."));
    takeBack.disabled = hint.disabled = busy;
    panel.replaceChildren(...drawThoughts());
  };
  const drawCell = (at, stone, move, thought) => {
    const name = stone ? stone : move ? `play ${move.name}` : "empty";
    const share = thought && thought.share >= 0.005 ? percent(thought.share) : "";
    const label = share && !stone ? `${name}, ${share} of its visits` : name;
    return make(
      "button",
      {
        type: "button",
        class: `cell ${stone === "x" ? "first" : stone === "o" ? "second" : ""}`,
        "data-key": `cell ${at}`,
        "aria-label": label,
        disabled: !move,
        // A column is one stop of the keyboard, and any of its empty cells may be clicked.
        tabindex: move && move.cells[0] !== at ? -1 : null,
        onclick: move && (() => play(move.action)),
      },
      stone ? "" : share,
    );
  };
  const drawThoughts = () => {
    if (!thoughts) return [make("p", { class: "quiet" }, "Its thoughts come with its first move.")];
    const whose = thoughts.turn === game.seat ? "In your place it would think" : "It thought";
    return [
      make("h2", {}, `${whose}: ${signed(thoughts.value)} on the whole`),
      make(
        "table",
        {},
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            ["Move", "Visits", "", "Value"].map((head) => make("th", { scope: "col" }, head)),
          ),
        ),
        make("tbody", {}, thoughts.moves.map(drawMove)),
      ),
      make("p", { class: "quiet" }, "Values from −1, a loss of whoever moves, to 1, a win."),
    ];
  };
  const drawMove = (move) =>
    make(
      "tr",
      { class: move.action === thoughts.action ? "taken" : null },
      make("td", {}, move.name),
      make("td", { class: "number" }, percent(move.share)),
      make("td", {}, make("meter", { min: 0, max: 1, value: move.share, "aria-hidden": "true" })),
      make("td", { class: "number" }, signed(move.value)),
    );

  const choose = (id, label, options, chosen, changed) => {
    const select = make(
      "select",
      { id, onchange: () => changed(select.value) },
      options.map(([value, text]) =>
        make("option", { value, selected: value === chosen }, text),
      ),
    );
    return make("span", { class: "pick" }, make("label", { for: id }, label), select);
  };
  const who = choose(
    "player",
    "Against",
    about.players.map(({ name }) => [name, name]),
    game.player,
    (name) => {
      game.player = name;
      begin();
    },
  );
  const side = choose(
    "seat",
    "You are",
    [["0", "x, first"], ["1", "o, second"]],
    String(game.seat),
    (seat) => {
      game.seat = Number(seat);
      begin();
    },
  );
  const strength = choose(
    "simulations",
    "Simulations",
    SIMULATIONS.map((number) => [String(number), number.toLocaleString("en")]),
    String(game.simulations),
    (number) => {
      game.simulations = Number(number);
    },
  );
  const takeBack = button("Undo", undo, { title: "Take your last move back" });
  const hint = button("Hint", () => mine() && ask("thoughts"), {
    title: "What it would do in your place",
  });
  const anew = button("New game", () => !busy && begin());
  const acts = make("span", { class: "pick" }, takeBack, hint, anew);
  place.replaceChildren(
    make("div", { class: "bar-top" }, who, side, strength, acts),
    make("div", { class: "game" }, make("div", {}, status, board, others, problem), panel),
  );
  ask("nothing").then(goOn);
}

const percent = (share) => `${Math.round(100 * share)} %`;
const signed = (value) =>
  value < 0 ? `−${Math.abs(value).toFixed(2)}` : `+${Math.abs(value).toFixed(2)}`;

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(PLACE)) ?? {};
  } catch {
    return {};
  }
}
