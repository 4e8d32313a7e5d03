// The live connection: a whole snapshot first, then one message a second; nothing here touches the page.

const SILENT_MS = 3500; // the server speaks every second: three missed beats are a loss, not chance
const LIMITS = { errors: 50, refusals: 50, mistakes: 50, decisions: 200, events: 500, history: 180, light_dots: 400, heavy_dots: 400 };

export function connect(changed) {
  const state = { document: null, news: {}, lastMessage: 0, lost: false, id: "" };
  for (const name of Object.keys(LIMITS)) state.news[name] = [];
  let source = null;

  function take(event) {
    const message = JSON.parse(event.data);
    state.id = event.lastEventId;
    state.document = message.document;
    for (const [name, limit] of Object.entries(LIMITS)) {
      const fresh = message.news[name] ?? [];
      // A list that did not change stays the same object: what is drawn from it need not be drawn again.
      if (message.whole) state.news[name] = fresh;
      else if (fresh.length) state.news[name] = state.news[name].concat(fresh).slice(-limit);
    }
    state.lastMessage = Date.now();
    state.lost = false;
    changed(state);
  }

  function open() {
    source?.close();
    source = new EventSource(`api/events${state.id ? `?since=${encodeURIComponent(state.id)}` : ""}`);
    source.onmessage = take;
  }

  // A browser gives up for good on an answer that is no stream, and sleeps through its own timers: look ourselves.
  setInterval(() => {
    const silent = Date.now() - state.lastMessage > SILENT_MS;
    if (silent && state.lastMessage && !state.lost) state.lost = true;
    if (silent && source.readyState === EventSource.CLOSED) open();
    if (state.lost) changed(state);
  }, 1000);
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => event.persisted && open());
  open();
  return state;
}
