// Numbers and times as people read them.

export const count = (n) => (n >= 10000 ? `${(n / 1000).toFixed(0)}k` : Math.round(n).toLocaleString("en"));
export const rate = (n) => (n >= 100 ? count(n) : n >= 10 ? n.toFixed(0) : n >= 0.05 || n === 0 ? n.toFixed(1).replace(".0", "") : "<0.1");
export const percent = (share) =>
  share === 0 ? "0 %" : share < 0.001 ? "<0.1 %" : share < 0.1 ? `${(share * 100).toFixed(1)} %` : `${(share * 100).toFixed(0)} %`;
export const megapixels = (pixels) => (pixels >= 1e5 ? `${(pixels / 1e6).toFixed(1)} MP` : pixels ? `${count(pixels)} px` : "–");

export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(1)} s`;
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return value >= 10 ? `${value.toFixed(0)} ms` : `${value.toFixed(1)} ms`;
}

export function age(seconds) {
  if (seconds < 100) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export const seconds = (value) =>
  value === 0 ? "0 s" : value < 0.95 ? `${Math.ceil(value * 1000)} ms` : value < 10 ? `${value.toFixed(1)} s` : `${value.toFixed(0)} s`;

export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
