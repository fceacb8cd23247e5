// A browser refuses workers on pages that are opened as files. There the search runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.srcdoc = `<script src="${url}"></script>`
      this.ready = new Promise(resolve => { frame.onload = () => resolve(frame.contentWindow) })
      this.ready.then(worker => {
        worker.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      })
      document.body.append(frame)
    }
    async postMessage(data) {
      const worker = await this.ready
      worker.dispatchEvent(new MessageEvent("message", { data }))
    }
  }
}
