// Begins to fetch what the map will need while the rest of the page is still on its way.
export default function ({ data }) {
  for (const [href, as] of [[data.plotly, "script"], [data.points, "fetch"]]) {
    if (!href || document.head.querySelector(`link[href="${CSS.escape(href)}"]`)) continue;
    const link = Object.assign(document.createElement("link"), { rel: "preload", as, href });
    if (as === "fetch") link.crossOrigin = "anonymous";
    document.head.append(link);
  }
}
