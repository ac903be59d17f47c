// Reads a device's QR code by camera or from a photo and hands its text to the form; the portal says what is wrong with it.
(() => {
  const block = document.querySelector("[data-qr]");
  if (!block) return;
  const texts = block.dataset;
  const dialog = document.getElementById("qr-dialog");
  const video = dialog.querySelector("video");
  const field = block.querySelector("[name=qr]");
  const button = block.querySelector("[name=read]");
  const PAUSE = 150;
  const SIZES = [1600, 800];

  const say = (place, text) => { place.querySelector("[data-qr-says]").textContent = text; };
  const isDevice = (text) => /^\s*LW(:|%3A)/i.test(text);
  const use = (text) => {
    field.value = text.trim();
    field.form.requestSubmit(button);
  };

  // A reader takes a picture and gives the text of its QR code, or "". The library comes only where the browser has none.
  const pixels = (source, largest) => {
    const width = source.videoWidth || source.width, height = source.videoHeight || source.height;
    const scale = Math.min(1, largest / Math.max(width, height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(source, 0, 0, canvas.width, canvas.height);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };
  const ownReader = async () => {
    const { decodeQR } = await import(new URL(texts.decoder, document.baseURI).href);
    return (source, sizes) => {
      for (const size of sizes) {
        try {
          return decodeQR(pixels(source, size));
        } catch { /* It throws where there is no code; another size may show one. */ }
      }
      return "";
    };
  };
  const findReader = async () => {
    const formats = await globalThis.BarcodeDetector?.getSupportedFormats().catch(() => []) ?? [];
    if (!formats.includes("qr_code")) return ownReader();
    const detector = new BarcodeDetector({ formats: ["qr_code"] });
    return async (source) => (await detector.detect(source))[0]?.rawValue ?? "";
  };
  let found;
  const reader = () => { found ??= findReader(); return found; };

  const photo = block.querySelector("[data-qr-photo]");
  photo.hidden = false;
  photo.querySelector("input").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    say(block, "");
    let picture;
    try {
      picture = await createImageBitmap(file);
    } catch {
      say(block, texts.noPicture);
      return;
    } finally {
      // So that choosing the same file again is a change.
      event.target.value = "";
    }
    const text = await (await reader())(picture, SIZES);
    picture.close();
    if (!text) say(block, texts.nothing);
    else if (!isDevice(text)) say(block, texts.other);
    else use(text);
  });

  const stop = (stream) => { for (const track of stream.getTracks()) track.stop(); };
  const look = async () => {
    const read = await reader();
    while (dialog.open && video.srcObject) {
      const text = video.videoWidth ? await read(video, [800]) : "";
      if (text && isDevice(text) && dialog.open) {
        dialog.close();
        use(text);
        return;
      }
      if (text) say(dialog, texts.other);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  };
  const camera = block.querySelector("[data-qr-camera]");
  camera.hidden = false;
  camera.addEventListener("click", async () => {
    say(block, "");
    say(dialog, "");
    if (!navigator.mediaDevices) {
      say(block, window.isSecureContext ? texts.noCamera : texts.insecure);
      return;
    }
    dialog.showModal();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: { ideal: "environment" } } });
      // The person may have closed the dialog while the browser asked.
      if (!dialog.open) { stop(stream); return; }
      video.srcObject = stream;
      await video.play();
      await look();
    } catch (error) {
      if (!dialog.open) return;
      dialog.close();
      say(block, error.name === "NotAllowedError" ? texts.refused : texts.noCamera);
    }
  });
  dialog.addEventListener("close", () => {
    if (video.srcObject) stop(video.srcObject);
    video.srcObject = null;
  });
})();
