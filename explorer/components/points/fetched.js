// Bytes at an address, asked for once a page by whichever component comes first. As a range: the server would compress the
// whole anew for every visitor, which takes longer than sending it.
function bytesAt(address) {
  const all = (window.__upstreamBytes ??= new Map());
  if (!all.has(address)) {
    const loading = fetch(address, { headers: { Range: "bytes=0-" } }).then((answer) => {
      if (!answer.ok) throw new Error(address);
      return answer.arrayBuffer();
    });
    loading.catch(() => all.delete(address));
    all.set(address, loading);
  }
  return all.get(address);
}
