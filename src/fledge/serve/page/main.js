// Starts the page: asks what is served, and shows the view that the address names.

import { get } from "./api.js";
import { openChat } from "./chat_view.js";
import { fail } from "./dom.js";
import { openRuns } from "./runs_view.js";
import { openSettings } from "./settings.js";
import { openVote } from "./vote_view.js";

const VIEWS = ["chat", "vote", "runs"];
const place = (name) => document.getElementById(name);

document.getElementById("open-settings").addEventListener("click", openSettings);
const runs = openRuns(place("runs"));

function show() {
  const [wanted, number] = location.hash.slice(1).split("/");
  const name = VIEWS.includes(wanted) ? wanted : "chat";
  for (const view of VIEWS) {
    place(view).hidden = view !== name;
    const link = document.querySelector(`[data-view=${view}]`);
    if (view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (name === "runs") runs.show(/^\d+$/.test(number) ? Number(number) : null);
  else runs.hide();
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
  openChat(place("chat"), about);
  openVote(place("vote"), about);
} catch (error) {
  fail(place("chat"), error);
}
