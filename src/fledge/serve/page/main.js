// Starts the page: asks what is served, and shows the view that the address names.

import { get } from "./api.js";
import { openChat } from "./chat_view.js";
import { openCompare } from "./compare_view.js";
import { fail } from "./dom.js";
import { openPlay } from "./play_view.js";
import { openRuns } from "./runs_view.js";
import { openSettings } from "./settings.js";
import { openVote } from "./vote_view.js";

const VIEWS = ["chat", "vote", "compare", "play", "runs"];
const place = (name) => document.getElementById(name);
const linkOf = (view) => document.querySelector(`[data-view=${view}]`);
let first = "chat"; // the view where the address names none
let compare = null; // where there is something to compare

document.getElementById("open-settings").addEventListener("click", openSettings);
const runs = openRuns(place("runs"));

function show() {
  const [wanted, number] = location.hash.slice(1).split("/");
  const name = VIEWS.includes(wanted) ? wanted : first;
  for (const view of VIEWS) {
    place(view).hidden = view !== name;
    const link = linkOf(view);
    if (view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (name === "runs") runs.show(/^\d+$/.test(number) ? Number(number) : null);
  else runs.hide();
  if (name === "compare") compare?.start();
}

// A place within the view, which the address is not to name.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  place("main").focus();
});
addEventListener("hashchange", show);
show();

try {
  const about = await get("fledge/models");
  if (about.models.length) {
    openChat(place("chat"), about);
    openVote(place("vote"), about);
  } else {
    // Only players are here: nothing speaks, and nothing has settings.
    first = "play";
    for (const view of ["chat", "vote"]) linkOf(view).hidden = true;
    document.getElementById("open-settings").hidden = true;
  }
  if (about.compare) {
    linkOf("compare").hidden = false;
    compare = openCompare(place("compare"));
  } else {
    const started = "Nothing to compare: start the server with compare=FILE.jsonl.";
    place("compare").textContent = started;
  }
  if (about.players.length) {
    linkOf("play").hidden = false;
    openPlay(place("play"), about);
  }
  show();
} catch (error) {
  fail(place("chat"), error);
}
