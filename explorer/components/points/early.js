// Begins to fetch what the map will need while the rest of the page is still on its way.
export default function ({ data }) {
  if (data.points) bytesAt(data.points).catch(() => {}); // the map will say so
  if (!data.plotly || document.head.querySelector(`link[href="${CSS.escape(data.plotly)}"]`)) return;
  document.head.append(Object.assign(dom.make("link"), { rel: "preload", as: "script", href: data.plotly }));
}
