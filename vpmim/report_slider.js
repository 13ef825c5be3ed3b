"use strict";
// One slider for all panels: of each picture, the version of the chosen step is shown.
{
  const slider = document.getElementById("panel-step");
  const words = slider.parentElement.querySelector("output");
  const frames = [...document.querySelectorAll("[data-first]")];
  const show = () => {
    const step = Number(slider.value);
    for (const frame of frames) {
      frame.classList.toggle("now", Number(frame.dataset.first) <= step && step <= Number(frame.dataset.last));
    }
    words.textContent = slider.list.options[step].label;
    slider.setAttribute("aria-valuetext", words.textContent);
  };
  slider.addEventListener("input", show);
  slider.parentElement.hidden = false;
  show();
}
